"""Many rows into one table at once, for what comes by the ten thousand: PostgreSQL's COPY."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import connection


def copy_rows(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert the rows, of which every column is given or has a default in the database. Triggers and checks hold.

    Binary: neither side writes numbers and instants out as text to read them again.
    """
    names = ", ".join(f'"{column}"' for column in columns)
    with connection.wrap_database_errors, connection.cursor() as cursor:
        cursor.execute(
            "SELECT atttypid::bigint FROM unnest(%s::text[]) WITH ORDINALITY AS asked (name, place)"
            " JOIN pg_attribute ON attrelid = %s::regclass AND attname = asked.name ORDER BY place",
            [list(columns), table],
        )
        types = [oid for (oid,) in cursor.fetchall()]
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)


def next_ids(table: str, *, at_once: int) -> Iterator[int]:
    """Ids for new rows, so that rows which are written at once can name each other. Without end; asks when needed."""
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, at_once]
            )
            ids = [number for (number,) in cursor.fetchall()]
        yield from ids
