"""Foreign keys of tables that are written ten thousand rows at a time, checked once a statement.

A foreign key of PostgreSQL's asks, row by row at commit, whether there is what the row names, and locks it. Most of
thousands of rows name the same few. Here a trigger asks once for each thing that the rows of a statement name, and
locks it the same way; another refuses to delete a thing while a row names it. Only for append-only tables: their rows
are neither changed nor removed, so that nothing else need be watched. In the model: `db_constraint=False`.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.db.migrations import RunSQL

_REFUSE = """
CREATE OR REPLACE FUNCTION refuse_while_named() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE named boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I = $1)', TG_ARGV[0], TG_ARGV[1]) INTO named USING OLD.id;
    IF named THEN
        RAISE EXCEPTION '% % is named by %.%', TG_TABLE_NAME, OLD.id, TG_ARGV[0], TG_ARGV[1]
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
"""
# A plan is kept as long as the session, and may be made while tables are small: told to use their keys it stays good.
_BY_KEY = "SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off"


def checked_by_statement(table: str, named: Mapping[str, str], *, append_only: Mapping[str, str]) -> RunSQL:
    """For migrations. `named`: the table that a column names a row of, by its id. `append_only`: the same where rows
    of that table are append-only too, and never emptied: they need no lock. IntegrityError when there is no such row,
    or when it is to be deleted while a row names it."""
    asked = [_ask(table, column, parent, "FOR KEY SHARE") for column, parent in named.items()]
    asked += [_ask(table, column, parent, "") for column, parent in append_only.items()]
    watched = [
        f"CREATE TRIGGER {table}_{column} AFTER DELETE OR UPDATE OF id ON {parent}"
        f" FOR EACH ROW EXECUTE FUNCTION refuse_while_named('{table}', '{column}');"
        for column, parent in named.items()
    ]
    return RunSQL(
        f"""{_REFUSE}
CREATE FUNCTION {table}_names() RETURNS trigger LANGUAGE plpgsql {_BY_KEY} AS $$
DECLARE missing bigint;
BEGIN
{"".join(asked)}
    RETURN NULL;
END $$;
CREATE TRIGGER {table}_names AFTER INSERT ON {table}
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION {table}_names();
{"".join(watched)}""",
        f"DROP TRIGGER {table}_names ON {table}; DROP FUNCTION {table}_names();"
        + "".join(f"DROP TRIGGER {table}_{column} ON {parent};" for column, parent in named.items()),
    )


def _ask(table: str, column: str, parent: str, lock: str) -> str:
    return f"""
    SELECT each.id INTO missing FROM (SELECT DISTINCT {column} AS id FROM written WHERE {column} IS NOT NULL) AS each
    LEFT JOIN LATERAL (SELECT id FROM {parent} AS parent WHERE parent.id = each.id {lock}) AS parent ON true
    WHERE parent.id IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '{table}.{column} names {parent} %, which is not there', missing
            USING ERRCODE = 'foreign_key_violation';
    END IF;
"""  # noqa: S608 - names of tables and columns, from migrations
