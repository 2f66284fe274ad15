import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import arro3.io
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.core.parquet import ROWS_AT_ONCE, Column, Kind, parquet_bytes

COLUMNS = [
    Column("Name"),
    Column("Details", Kind.JSON),
    Column("Amount", Kind.DECIMAL),
    Column("At", Kind.INSTANT),
]
AT = datetime(2026, 10, 31, 15, tzinfo=UTC)


def read(columns: list[Column], rows: list[Any]) -> dict[str, list[Any]]:
    """As arro3, the Rust implementation of Arrow, reads it."""
    table = arro3.io.read_parquet(io.BytesIO(b"".join(parquet_bytes(columns, rows)))).read_all()
    return {name: table[name].to_pylist() for name in table.column_names}


def test_another_reader_sees_each_value_and_what_is_missing() -> None:
    rows = [
        ("東京 \N{GRINNING FACE}", {"GpuCount": 8}, Decimal("-0.000000000000000001"), AT),
        (None, None, None, None),
        ("", {}, 12345678901234567890, AT + timedelta(microseconds=1)),
    ]
    assert read(COLUMNS, rows) == {
        "Name": ["東京 \N{GRINNING FACE}", None, ""],
        "Details": ['{"GpuCount":8}', None, "{}"],
        "Amount": [Decimal("-0.000000000000000001"), None, Decimal(12345678901234567890)],
        "At": [AT, None, AT + timedelta(microseconds=1)],
    }


def test_no_rows_are_a_file_with_its_columns() -> None:
    assert read(COLUMNS, []) == {"Name": [], "Details": [], "Amount": [], "At": []}


def test_more_columns_than_a_short_list_has_and_more_rows_than_one_group() -> None:
    columns = [Column(f"C{number}") for number in range(70)]
    rows = [[str(row)] * 69 + [None] for row in range(2 * ROWS_AT_ONCE + 1)]
    found = read(columns, rows)
    assert found["C0"] == found["C68"] == [str(row) for row in range(2 * ROWS_AT_ONCE + 1)]
    assert set(found["C69"]) == {None}


def test_it_is_sent_while_the_rows_are_read() -> None:
    asked = []

    def rows() -> Any:
        for number in range(3 * ROWS_AT_ONCE):
            asked.append(number)
            yield ("x", None, None, None)

    pieces = parquet_bytes(COLUMNS, rows())
    assert (next(pieces), len(asked)) == (b"PAR1", 0)
    assert (len(next(pieces)) > 0, len(asked)) == (True, ROWS_AT_ONCE)


def test_a_number_that_has_no_place_is_refused() -> None:
    with pytest.raises(OverflowError):
        b"".join(parquet_bytes(COLUMNS, [(None, None, Decimal("1e30"), None)]))


@given(
    rows=st.lists(
        st.tuples(
            st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
            st.none(),
            st.none() | st.decimals(-(10**19), 10**19, places=18),
            st.none() | st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),
        ),
        max_size=40,
    )
)
@settings(deadline=None, max_examples=50)
def test_any_table_is_read_as_it_was_written(rows: list[Any]) -> None:
    found = read(COLUMNS, rows)
    assert list(zip(*found.values(), strict=True)) == rows
