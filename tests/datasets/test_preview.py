from __future__ import annotations

import io
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from portal.datasets import storage
from portal.datasets.parquet import Schema
from portal.datasets.preview import Image, Nothing, Preview, Table, Text, from_head, preview_of
from tests.datasets.test_parquet import END
from tests.datasets.wire import StoreWire


def picture(kind: str) -> bytes:
    written = io.BytesIO()
    Picture.new("RGB", (2, 2)).save(written, kind)
    return written.getvalue()


@pytest.mark.parametrize(
    ("name", "head", "seen"),
    [
        ("a.txt", "こんにちは\r\n<b>\n".encode(), Text("こんにちは\n<b>", "UTF-8", False)),
        ("a.txt", "こんにちは".encode("utf-8-sig"), Text("こんにちは", "UTF-8", False)),
        ("a.txt", "日本語の文".encode("cp932"), Text("日本語の文", "Shift_JIS", False)),
        ("a", b"#!/bin/sh\n", Text("#!/bin/sh", "UTF-8", False)),
        ("a.CSV", '名,値\n"a,\nb",1\n'.encode(), Table(["名", "値"], [["a,\nb", "1"]], "UTF-8", False)),
        ("a.tsv", b"a\tb\n1\t2\n", Table(["a", "b"], [["1", "2"]], "UTF-8", False)),
        (
            "a.jsonl",
            '{"a": 1, "b": "x"}\n\n{"b": "語", "c": [1]}\n'.encode(),
            Table(["a", "b", "c"], [["1", "x", ""], ["", "語", "[1]"]], "UTF-8", False),
        ),
        ("a.jsonl", b"[1]\n", Text("[1]", "UTF-8", False)),
        ("a.txt", picture("PNG"), Image("image/png")),
        ("a.png", picture("JPEG"), Image("image/jpeg")),
        ("a.gif", picture("GIF"), Image("image/gif")),
        ("a.webp", picture("WEBP"), Image("image/webp")),
        ("a.png", b"<svg onload=alert(1)>", Text("<svg onload=alert(1)>", "UTF-8", False)),
        ("a.bin", b"\0\1\2", Nothing()),
        ("a.bin", b"\xff\xfd\xfc\xfb", Nothing()),
        ("a.txt", "日本語の文\r\nb".encode("utf-16"), Text("日本語の文\nb", "UTF-16 LE", False)),
        (
            "a.csv",
            b"\xfe\xff" + "名,値\n1,2\n".encode("utf-16-be"),
            Table(["名", "値"], [["1", "2"]], "UTF-16 BE", False),
        ),
        ("a.txt", b"\xff\xfe" + "語".encode("utf-16-le") + b"\0", Nothing()),
        ("a.txt", b"\xef\xbb\xbf" + "語".encode("cp932"), Nothing()),
        ("a.bin", "words".encode("utf-32"), Nothing()),
        ("a.txt", b"", Nothing(is_empty=True)),
    ],
)
def test_the_kind_is_what_the_bytes_say(name: str, head: bytes, seen: Preview) -> None:
    assert from_head(name, head, is_cut=False) == seen


def test_what_was_cut_is_shown_whole_and_said() -> None:
    assert from_head("a.txt", "語語".encode()[:-1], is_cut=True) == Text("語", "UTF-8", True)
    assert from_head("a.txt", "語語".encode("utf-16")[:-1], is_cut=True) == Text("語", "UTF-16 LE", True)
    assert from_head("a.csv", b"a,b\n1,2\n3", is_cut=True) == Table(["a", "b"], [["1", "2"]], "UTF-8", True)
    assert from_head("a.jsonl", b'{"a": 1}\n{"a"', is_cut=True) == Table(["a"], [["1"]], "UTF-8", True)


def test_large_tables_are_bounded() -> None:
    wide = from_head("a.csv", (",".join("x" * 60) + "\n" + "y" * 400 + "\n").encode(), is_cut=False)
    assert isinstance(wide, Table)
    assert (len(wide.header), wide.rows, wide.is_cut) == (50, [["y" * 300 + "…"]], True)
    long = from_head("a.csv", b"a\n" + b"1\n" * 200, is_cut=False)
    assert isinstance(long, Table)
    assert (len(long.rows), long.is_cut) == (100, True)


@given(st.binary(max_size=400), st.sampled_from(["a", "a.csv", "a.tsv", "a.jsonl", "a.txt"]), st.booleans())
def test_any_bytes_have_a_preview_or_none(head: bytes, name: str, is_cut: bool) -> None:
    assert isinstance(from_head(name, head, is_cut=is_cut), Preview)


def test_of_a_parquet_file_the_end_is_read() -> None:
    whole = b"PAR1" + bytes(326) + END
    storage.put_bytes("t/preview/whole", whole)
    storage.put_bytes("t/preview/cut", whole[:-20])
    seen = preview_of("a.bin", key="t/preview/whole", size_bytes=len(whole))
    assert isinstance(seen, Schema)
    assert (len(seen.columns), seen.rows) == (10, 3)
    assert preview_of("a.parquet", key="t/preview/cut", size_bytes=len(whole) - 20) == Nothing()


def test_a_store_that_hangs_is_said_within_seconds(settings: Any) -> None:
    storage.put_bytes("t/preview/held", b"words")
    with StoreWire(settings.S3_ENDPOINT) as wire:
        settings.S3_ENDPOINT = wire.url
        assert preview_of("a.txt", key="t/preview/held", size_bytes=5) == Text("words", "UTF-8", False)
        wire.hold()
        began = time.monotonic()
        with pytest.raises(storage.StorageUnavailable):
            preview_of("a.txt", key="t/preview/held", size_bytes=5)
        assert time.monotonic() - began < 20  # three tries of 12 s were 37
