"""The schema of a Parquet file, from the end of its bytes.

Only the few fields a person looks at are read: names, types, nesting, the number of rows. A library that reads whole
files weighs 40 to 120 MB and hands hostile bytes to native code; this reads a bounded piece and never allocates by a
length the file claims. Format: Apache Parquet's parquet.thrift in Thrift's compact protocol (apache/parquet-format).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TAIL_BYTES = 8  # the footer's length (uint32, little endian), then "PAR1"
FOOTER_MAX = 512 * 1024  # of the footer: the schema stands first in it
COLUMNS_MAX = 2000
_DEPTH_MAX = 16

_TYPES = ["BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"]
_REPETITIONS = ["required", "optional", "repeated"]
_CONVERTED = [
    "UTF8", "MAP", "MAP_KEY_VALUE", "LIST", "ENUM", "DECIMAL", "DATE", "TIME_MILLIS", "TIME_MICROS",
    "TIMESTAMP_MILLIS", "TIMESTAMP_MICROS", "UINT_8", "UINT_16", "UINT_32", "UINT_64", "INT_8", "INT_16", "INT_32",
    "INT_64", "JSON", "BSON", "INTERVAL",
]  # fmt: skip


class NotParquet(ValueError):
    """These bytes are not a Parquet file's end, or say something no such file says."""


@dataclass(frozen=True)
class Column:
    depth: int  # 0: a column of the table itself
    name: str
    kind: str  # physical type, empty for a group
    meaning: str  # what the writer says it means: UTF8, DECIMAL(10, 2), TIMESTAMP_MILLIS; or empty
    repetition: str  # required, optional, repeated

    @property
    def indents(self) -> range:
        return range(self.depth)


@dataclass(frozen=True)
class Schema:
    columns: list[Column]  # as in the file, groups before what they hold; at most 2,000
    rows: int
    is_cut: bool  # there are more columns


def footer_length(tail: bytes) -> int:
    """From the last 8 bytes. Raises NotParquet."""
    if len(tail) != TAIL_BYTES or tail[4:] != b"PAR1":
        raise NotParquet("no PAR1 at the end")
    return int.from_bytes(tail[:4], "little")


def schema_of(footer: bytes) -> Schema:
    """`footer` may be cut at FOOTER_MAX, if the schema and the number of rows stand before it. Raises NotParquet."""
    try:
        elements, rows = _metadata(_Reader(footer))
        is_cut = len(elements) > COLUMNS_MAX + 1
        return Schema(list(_columns(elements[: COLUMNS_MAX + 1])), rows, is_cut)
    except (IndexError, OverflowError, RecursionError) as error:
        raise NotParquet("the footer ends early or nests too deep") from error


@dataclass
class _Element:
    name: str = ""
    kind: str = ""
    repetition: str = ""
    children: int = 0
    converted: int = -1
    scale: int = 0
    precision: int = 0


class _Reader:
    """Thrift's compact protocol, as much of it as a footer uses. Every step moves forward, so it ends."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise NotParquet("a number that is too long")

    def integer(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def binary(self) -> bytes:
        length = self.varint()
        if length > len(self.data) - self.at:
            raise NotParquet("a text that is longer than the footer")
        self.at += length
        return self.data[self.at - length : self.at]

    def fields(self) -> Iterator[tuple[int, int]]:
        """(field id, type) of a struct; the caller reads or skips each value before asking for the next."""
        field = 0
        while header := self.byte():
            field = field + (header >> 4) if header >> 4 else self.integer()
            yield field, header & 0x0F

    def items(self) -> tuple[int, int]:
        """(how many, type) of a list or set."""
        header = self.byte()
        count = header >> 4
        count = self.varint() if count == 15 else count
        if count > len(self.data):
            raise NotParquet("a list that is longer than the footer")
        return count, header & 0x0F

    def skip(self, kind: int, depth: int = 0, *, in_list: bool = False) -> None:
        if depth > _DEPTH_MAX:
            raise NotParquet("nested too deep")
        match kind:
            case 1 | 2:  # in a field its type is the value; in a list each takes a byte
                self.at += in_list
            case 3:
                self.at += 1
            case 4 | 5 | 6:
                self.varint()
            case 7:
                self.at += 8
            case 8:
                self.binary()
            case 9 | 10:
                count, item = self.items()
                for _ in range(count):
                    self.skip(item, depth + 1, in_list=True)
            case 11:
                if count := self.varint():
                    kinds = self.byte()
                    for _ in range(min(count, len(self.data))):
                        self.skip(kinds >> 4, depth + 1, in_list=True)
                        self.skip(kinds & 0x0F, depth + 1, in_list=True)
            case 12:
                for _field, inner in self.fields():
                    self.skip(inner, depth + 1)
            case _:
                raise NotParquet("a type that Thrift does not have")


def _metadata(reader: _Reader) -> tuple[list[_Element], int]:
    """FileMetaData: 2 is the schema, 3 the number of rows; what follows is not needed."""
    elements: list[_Element] = []
    for field, kind in reader.fields():
        if (field, kind) == (2, 9):
            count, item = reader.items()
            if item != 12:
                raise NotParquet("a schema that is no list of elements")
            elements = [_element(reader) for _ in range(count)]
        elif (field, kind) == (3, 6):
            rows = reader.integer()
            if not elements or rows < 0:
                break
            return elements, rows
        else:
            reader.skip(kind)
    raise NotParquet("no schema")


def _element(reader: _Reader) -> _Element:
    element = _Element()
    for field, kind in reader.fields():
        if kind == 5 and field in (1, 3, 5, 6, 7, 8):
            value = reader.integer()
            match field:
                case 1:
                    element.kind = _word(_TYPES, value)
                case 3:
                    element.repetition = _word(_REPETITIONS, value)
                case 5:
                    element.children = value
                case 6:
                    element.converted = value
                case 7:
                    element.scale = value
                case 8:
                    element.precision = value
        elif (field, kind) == (4, 8):
            element.name = reader.binary().decode(errors="replace")
        else:
            reader.skip(kind)
    return element


def _columns(elements: list[_Element]) -> Iterator[Column]:
    """The first element is the table itself; the others follow depth first."""
    left = [elements[0].children]
    for element in elements[1:]:
        while left and left[-1] <= 0:
            left.pop()
        if not left:
            raise NotParquet("more elements than the groups hold")
        left[-1] -= 1
        meaning = _word(_CONVERTED, element.converted)
        if meaning == "DECIMAL":
            meaning = f"DECIMAL({element.precision}, {element.scale})"
        kind = "" if element.children else element.kind
        yield Column(len(left) - 1, element.name, kind, meaning, element.repetition)
        if element.children:
            left.append(element.children)


def _word(words: list[str], number: int) -> str:
    return words[number] if 0 <= number < len(words) else ""
