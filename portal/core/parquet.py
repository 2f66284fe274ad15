"""Writes Parquet in pieces, for tables that are sent while they are read.

Only what our exports need: text, JSON, decimals and instants, any of them missing, one page per column and row group,
gzip. A library would do it as well, but pyarrow adds 51 MiB to a web process and 170 MB to an installation (version
26, measured), and arro3, at 9 and 34, writes into whole files only. The tests read the files with arro3. Format: Apache
Parquet's parquet.thrift in Thrift's compact protocol (apache/parquet-format).
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from enum import Enum
from typing import Any

ROWS_AT_ONCE = 2000  # so many are in memory; also the size of a row group
PRECISION, SCALE = 38, 18  # of every decimal
_MAGIC = b"PAR1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIDE = Context(prec=2 * PRECISION)  # the usual 28 digits would round
_EXACT = timedelta(microseconds=1)


class Kind(Enum):
    """(physical type, length, converted type) of parquet.thrift."""

    TEXT = (6, None, 0)
    JSON = (6, None, 19)
    DECIMAL = (7, 16, 5)
    INSTANT = (2, None, 10)  # microseconds, UTC


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind = Kind.TEXT


def parquet_bytes(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """The file, a row group at a time. Values: str, anything json.dumps takes, Decimal or int, aware datetime; None.

    OverflowError for a number of 38 digits or more.
    """
    yield _MAGIC
    position, groups, count = len(_MAGIC), [], 0
    for piece in _pieces(rows):
        chunks: list[bytes] = []
        described = []
        for column, values in zip(columns, zip(*piece, strict=True), strict=True):
            page, plain_size = _page(column.kind, values)
            described.append(_chunk(column, len(piece), position, len(page), plain_size))
            chunks.append(page)
            position += len(page)
        yield b"".join(chunks)
        size = sum(len(chunk) for chunk in chunks)
        groups.append(_struct((1, _list(12, described)), (2, _i64(size)), (3, _i64(len(piece)))))
        count += len(piece)
    schema = [_struct((4, _text("table")), (5, _i32(len(columns)))), *map(_element, columns)]
    footer = _struct(
        (1, _i32(1)),
        (2, _list(12, schema)),
        (3, _i64(count)),
        (4, _list(12, groups)),
        (6, _text("gpu-alliance-portal")),
    )
    yield footer + struct.pack("<I", len(footer)) + _MAGIC


def _pieces(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    piece: list[Sequence[Any]] = []
    for row in rows:
        piece.append(row)
        if len(piece) == ROWS_AT_ONCE:
            yield piece
            piece = []
    if piece:
        yield piece


def _page(kind: Kind, values: Sequence[Any]) -> tuple[bytes, int]:
    """A data page with its header, and its size were it not compressed."""
    body = _present(values) + b"".join(map(_ENCODERS[kind], (value for value in values if value is not None)))
    packer = zlib.compressobj(6, wbits=31)  # 31: gzip
    packed = packer.compress(body) + packer.flush()
    # Plain values; which are there is run-length encoded, which is also said of repetitions, of which there are none.
    about = _struct((1, _i32(len(values))), (2, _i32(0)), (3, _i32(3)), (4, _i32(3)))
    header = _struct((1, _i32(0)), (2, _i32(len(body))), (3, _i32(len(packed))), (5, (12, about)))
    return header + packed, len(header) + len(body)


def _present(values: Sequence[Any]) -> bytes:
    """1 for each value that is there, else 0: one run if all are alike, else a bit each."""
    there = [value is not None for value in values]
    if all(there) or not any(there):
        runs = _varint(len(values) << 1) + bytes([there[0]])
    else:
        groups = -(-len(there) // 8)
        bits = int("".join("1" if one else "0" for one in reversed(there)), 2)
        runs = _varint(groups << 1 | 1) + bits.to_bytes(groups, "little")
    return struct.pack("<I", len(runs)) + runs


def _encode_text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<I", len(raw)) + raw


def _encode_decimal(value: Decimal | int) -> bytes:
    return int(_WIDE.scaleb(Decimal(value), SCALE)).to_bytes(16, "big", signed=True)


_ENCODERS: dict[Kind, Any] = {
    Kind.TEXT: _encode_text,
    Kind.JSON: lambda value: _encode_text(json_text(value)),
    Kind.DECIMAL: _encode_decimal,
    Kind.INSTANT: lambda value: struct.pack("<q", (value - _EPOCH) // _EXACT),
}


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


# --- what stands in the footer ---------------------------------------------------------------------------------------
def _element(column: Column) -> bytes:
    physical, length, converted = column.kind.value
    fields = [(1, _i32(physical)), (2, _i32(length)) if length else None, (3, _i32(1)), (4, _text(column.name))]
    fields.append((6, _i32(converted)))
    if column.kind is Kind.DECIMAL:
        fields += [(7, _i32(SCALE)), (8, _i32(PRECISION))]
    return _struct(*(field for field in fields if field))


def _chunk(column: Column, rows: int, position: int, size: int, plain_size: int) -> bytes:
    about = _struct(
        (1, _i32(column.kind.value[0])),
        (2, _list(5, [_zigzag(0), _zigzag(3)])),
        (3, _list(8, [_text(column.name)[1]])),
        (4, _i32(2)),  # gzip
        (5, _i64(rows)),
        (6, _i64(plain_size)),
        (7, _i64(size)),
        (9, _i64(position)),
    )
    return _struct((2, _i64(position)), (3, (12, about)))


# --- Thrift's compact protocol: a field is (id, (type, bytes)) -------------------------------------------------------
def _struct(*fields: tuple[int, tuple[int, bytes]]) -> bytes:
    written, before = [], 0
    for number, (kind, value) in fields:
        written.append(bytes([(number - before) << 4 | kind]) + value)
        before = number
    return b"".join(written) + b"\0"


def _list(kind: int, items: Sequence[bytes]) -> tuple[int, bytes]:
    head = bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind]) + _varint(len(items))
    return 9, head + b"".join(items)


def _text(value: str) -> tuple[int, bytes]:
    raw = value.encode()
    return 8, _varint(len(raw)) + raw


def _i32(value: int) -> tuple[int, bytes]:
    return 5, _zigzag(value)


def _i64(value: int) -> tuple[int, bytes]:
    return 6, _zigzag(value)


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
