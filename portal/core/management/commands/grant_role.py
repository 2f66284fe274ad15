"""Gives a database role of the DBA's making what the portal's processes need of the tables, and no more.

    CREATE ROLE portal_web LOGIN PASSWORD '…';          the DBA, once
    manage.py grant_role portal_web                     as the owner of the tables, after each `prepare`

Web, workers and beat then connect as portal_web, and `prepare` as the owner. That role reads and writes rows, but of
what is append-only (ledger, charges, issued invoices, settlements, usage, audit trail, places) it only reads and adds,
empties no table, and can neither alter nor switch off what guards them.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, transaction
from psycopg import sql

_ROLE = """
    SELECT r.rolsuper OR r.rolbypassrls OR EXISTS (
        SELECT 1 FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
        WHERE n.nspname = current_schema() AND t.relkind = 'r' AND pg_has_role(r.oid, t.relowner, 'MEMBER'))
    FROM pg_roles r WHERE r.rolname = %s
"""
_APPEND_ONLY = (
    "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE '%\\_append\\_only' ORDER BY 1"
)


class Command(BaseCommand):
    help = "Grant a database role what the portal's processes need: repeatable, after each `prepare`."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("role", help="a role that exists, such as portal_web; not the owner of the tables")

    def handle(self, *args: Any, role: str, **options: Any) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_ROLE, [role])
            found = cursor.fetchone()
            if found is None:
                raise CommandError(f"There is no role {role}. CREATE ROLE {role} LOGIN PASSWORD '…' makes one.")
            if found[0]:
                raise CommandError(f"{role} owns the tables or is a superuser: nothing can be kept from it.")
            cursor.execute("SELECT current_schema()")
            schema = sql.Identifier(cursor.fetchone()[0])
            cursor.execute(_APPEND_ONLY)
            kept = [sql.SQL(table) for (table,) in cursor.fetchall()]  # quoted by the database where it is needed
            names = {"role": sql.Identifier(role), "schema": schema, "kept": sql.SQL(", ").join(kept)}
            for statement in (
                "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}",
                "GRANT USAGE ON SCHEMA {schema} TO {role}",
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
                "REVOKE UPDATE, DELETE ON {kept} FROM {role}",
                "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
            ):
                cursor.execute(sql.SQL(statement).format(**names))
        self.stdout.write(f"{role} reads and adds to {len(kept)} append-only tables, and reads and writes the others.")
