"""What a file looks like, from its first bytes (of Parquet: from its last). Text stays text; nothing here is markup.

The kind is what the bytes say, not what the name or the sender says; the name only tells tables from other text.
"""

from __future__ import annotations

import codecs
import csv
import json
from dataclasses import dataclass
from io import StringIO

from portal.datasets import parquet, storage

HEAD_BYTES = 64 * 1024
ROWS_MAX, COLUMNS_MAX, CELL_MAX, LINES_MAX = 100, 50, 300, 1000

_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_JSON_LINES, _TABLES = (".jsonl", ".ndjson"), {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16 LE"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16 BE"),
)
_ENCODINGS = (("utf-8", "UTF-8"), ("cp932", "Shift_JIS"), ("euc_jp", "EUC-JP"))


@dataclass(frozen=True)
class Text:
    text: str
    encoding: str
    is_cut: bool


@dataclass(frozen=True)
class Table:
    header: list[str]
    rows: list[list[str]]
    encoding: str
    is_cut: bool  # there are more rows or columns, or longer cells


@dataclass(frozen=True)
class Image:
    content_type: str


@dataclass(frozen=True)
class Nothing:
    """No preview of bytes like these; or of an empty file."""

    is_empty: bool = False


Preview = Text | Table | Image | parquet.Schema | Nothing


def preview_of(name: str, *, key: str, size_bytes: int) -> Preview:
    """At most 64 KiB are read, of Parquet 512 KiB. Raises StorageError, after few seconds: somebody waits."""
    head = storage.read(key, length=HEAD_BYTES, in_haste=True)
    if head[:4] == b"PAR1":
        return _parquet(key, size_bytes)
    return from_head(name, head, is_cut=size_bytes > len(head))


def from_head(name: str, head: bytes, *, is_cut: bool) -> Preview:
    if not head:
        return Nothing(is_empty=True)
    for signature, content_type in _IMAGES.items():
        if head.startswith(signature):
            return Image(content_type)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Image("image/webp")
    decoded = _decoded(head, is_cut=is_cut)
    if decoded is None:
        return Nothing()
    text, encoding = decoded
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    if suffix in _TABLES:
        return _table(text, _TABLES[suffix], encoding, is_cut=is_cut)
    if suffix in _JSON_LINES and (records := _records(text, encoding, is_cut=is_cut)):
        return records
    lines = text.splitlines()
    return Text("\n".join(lines[:LINES_MAX]), encoding, is_cut or len(lines) > LINES_MAX)


def _parquet(key: str, size_bytes: int) -> Preview:
    try:
        length = parquet.footer_length(storage.read(key, start=max(0, size_bytes - parquet.TAIL_BYTES), in_haste=True))
        start = size_bytes - parquet.TAIL_BYTES - length
        if start < 4:
            raise parquet.NotParquet("a footer that is longer than the file")
        footer = storage.read(key, start=start, length=min(length, parquet.FOOTER_MAX), in_haste=True)
        return parquet.schema_of(footer)
    except parquet.NotParquet:
        return Nothing()


def _decoded(head: bytes, *, is_cut: bool) -> tuple[str, str] | None:
    """None for what is no text. A letter that was cut in half at the end is left out."""
    marked = [(codec, label) for mark, codec, label in _MARKS if head.startswith(mark)]
    if b"\0" in head and not marked:
        return None
    for codec, label in marked or _ENCODINGS:
        for end in range(len(head), max(len(head) - (4 if is_cut else 1), 0), -1):
            try:
                text = head[:end].decode(codec)
            except UnicodeDecodeError:
                continue
            strange = sum(1 for letter in text if letter < " " and letter not in "\t\n\r\f\x1b\b")
            return (text, label) if strange * 100 <= len(text) else None
    return None


def _table(text: str, delimiter: str, encoding: str, *, is_cut: bool) -> Table:
    if is_cut:
        text = text[: text.rfind("\n") + 1] or text  # the last line may be half
    rows: list[list[str]] = []
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            rows.append(row)
            if len(rows) > ROWS_MAX + 1:
                break
    except csv.Error:
        is_cut = True  # a cell beyond all bounds: what came before it is shown
    header, *body = rows or [[]]
    is_cut = is_cut or len(body) > ROWS_MAX
    return _bounded(header, body[:ROWS_MAX], encoding, is_cut=is_cut)


def _records(text: str, encoding: str, *, is_cut: bool) -> Table | None:
    """Objects line by line as a table of their keys. None: some line is no object, show it as text."""
    lines = [line for line in text.split("\n") if line.strip()]
    if is_cut:
        lines = lines[:-1]
    header: dict[str, None] = {}
    records = []
    for line in lines[:ROWS_MAX]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict):
            return None
        header.update(dict.fromkeys(record))
        records.append(record)
    body = [[_cell(record[name]) if name in record else "" for name in header] for record in records]
    return _bounded(list(header), body, encoding, is_cut=is_cut or len(lines) > ROWS_MAX) if records else None


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _bounded(header: list[str], body: list[list[str]], encoding: str, *, is_cut: bool) -> Table:
    def short(row: list[str]) -> list[str]:
        return [cell if len(cell) <= CELL_MAX else f"{cell[:CELL_MAX]}…" for cell in row[:COLUMNS_MAX]]

    is_cut = is_cut or any(
        len(row) > COLUMNS_MAX or any(len(cell) > CELL_MAX for cell in row) for row in [header, *body]
    )
    return Table(short(header), [short(row) for row in body], encoding, is_cut)
