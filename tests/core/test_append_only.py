from __future__ import annotations

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction

from portal.core.models import AppendOnly


def test_every_table_that_is_called_append_only_is_so_in_the_database(db: None) -> None:
    tables = {model._meta.db_table for model in apps.get_models() if issubclass(model, AppendOnly)}
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE '%_append_only'")
        guarded = {row[0] for row in cursor.fetchall()}
    assert (tables - guarded, "audit_auditevent" in tables) == (set(), True)


@pytest.mark.parametrize("statement", ["UPDATE audit_auditevent SET act = 'x'", "DELETE FROM audit_auditevent"])
def test_the_database_refuses_whoever_asks(db: None, statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_auditevent (chain, sequence, at, actor, act, subject, detail, previous, digest)"
            " VALUES ('o-1', 1, now(), 'user:1', 'job.moved', 'job:J-1', '{}', '', 'd')"
        )
    with (
        pytest.raises(IntegrityError, match="audit_auditevent is append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
