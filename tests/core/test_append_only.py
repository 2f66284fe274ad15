from __future__ import annotations

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction

from portal.core.models import AppendOnly


def test_every_table_that_is_called_append_only_is_so_in_the_database(db: None) -> None:
    tables = {model._meta.db_table for model in apps.get_models() if issubclass(model, AppendOnly)}
    assert (tables - guarded("append_only"), "audit_auditevent" in tables) == (set(), True)


def test_what_is_append_only_is_never_emptied_either(db: None) -> None:
    assert guarded("append_only") - guarded("never_emptied") == set()


def guarded(kind: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE %s", [f"%_{kind}"])
        return {row[0] for row in cursor.fetchall()}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditevent SET act = 'x'",
        "DELETE FROM audit_auditevent",
        "TRUNCATE audit_auditevent",
        "TRUNCATE usage_storageday CASCADE",
        "TRUNCATE usage_refusedline",
        "TRUNCATE datasets_placeevent",
    ],
)
def test_the_database_refuses_whoever_asks(db: None, statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_auditevent (chain, sequence, at, actor, act, subject, detail, previous, digest)"
            " VALUES ('o-1', 1, now(), 'user:1', 'job.moved', 'job:J-1', '{}', '', 'd')"
        )
    with (
        pytest.raises(IntegrityError, match=r"(auditevent|storageday|refusedline|placeevent) is append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
