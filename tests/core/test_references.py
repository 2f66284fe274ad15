"""Names without a foreign key in the database are kept as well as those with one."""

from __future__ import annotations

import psycopg
import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models, transaction

from portal.accounts.models import Project, User
from portal.billing.models import Charge, CreditUse
from portal.catalog.models import Price
from portal.core.models import AppendOnly
from portal.usage.models import UsageRecord
from tests.factories import PriceFactory
from tests.factories.billing import give_credit, jst, metered

NOBODY = 10**9


def charged(project: Project, user: User, price: Price | None = None) -> Charge:
    give_credit(project, 1000)
    price = price or PriceFactory()
    [charge] = metered(project, user, price, job_code="J", started_at=jst(2026, 11, 24, 12), seconds=600, held=500)
    return charge


def unconstrained() -> list[models.ForeignKey]:
    fields = [field for model in apps.get_models() for field in model._meta.get_fields() if field.concrete]
    return [field for field in fields if isinstance(field, models.ForeignKey) and not field.db_constraint]


FIELDS = [pytest.param(field, id=f"{field.model.__name__}.{field.name}") for field in unconstrained()]


def test_only_tables_that_never_change_are_checked_by_statement() -> None:
    assert {field.model for field in unconstrained()} == {UsageRecord, Charge, CreditUse}
    assert all(issubclass(field.model, AppendOnly) for field in unconstrained())


@pytest.mark.parametrize("field", FIELDS)
def test_a_row_names_what_is_there(project: Project, owner: User, field: models.ForeignKey) -> None:
    charged(project, owner)
    table, parent = field.model._meta.db_table, field.related_model._meta.db_table
    kept = [f.column for f in field.model._meta.concrete_fields if f.column not in ("id", field.column)]
    # Other checks of such a row come after it: first come those of the names.
    of_its_own = {"record_id": "NULL", "revision": "9", "job_code": "'J-9'", "source_id": "'other'"}
    values = [of_its_own.get(column, f'"{column}"') for column in kept]
    columns = ", ".join(f'"{column}"' for column in kept)
    refused = f"{table}.{field.column} names {parent} {NOBODY}, which is not there"
    with transaction.atomic(), connection.cursor() as cursor:
        for check in _checks(table):
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {check}")
        with pytest.raises(IntegrityError, match=refused), transaction.atomic():
            cursor.execute(
                f"INSERT INTO {table} ({columns}, {field.column}) SELECT {', '.join(values)}, {NOBODY} FROM {table}"
            )
        transaction.set_rollback(True)


def _checks(table: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('c', 'u')", [table]
        )
        return [name for (name,) in cursor.fetchall()]


@pytest.mark.parametrize("field", FIELDS)
def test_what_a_row_names_is_not_removed(project: Project, owner: User, field: models.ForeignKey) -> None:
    """Where the other table is append-only it removes nothing at all, and is never emptied either."""
    charge = charged(project, owner)
    table, parent = field.model._meta.db_table, field.related_model._meta.db_table
    if issubclass(field.related_model, AppendOnly):
        with pytest.raises(IntegrityError, match=f"{parent} is append-only: TRUNCATE refused"), transaction.atomic():
            _run(f"TRUNCATE {parent} CASCADE")
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = %s",
            [parent, f"{table}_{field.column}"],
        )
        [(trigger,)] = cursor.fetchall()
    assert trigger.endswith(
        f"AFTER DELETE OR UPDATE OF id ON public.{parent}"
        f" FOR EACH ROW EXECUTE FUNCTION refuse_while_named('{table}', '{field.column}')"
    )
    named = {UsageRecord: charge.record, Charge: charge, CreditUse: charge.uses.get()}[field.model]
    if (pk := getattr(named, field.attname)) is not None:
        with pytest.raises(IntegrityError, match=f"{parent} {pk} is named by "), transaction.atomic():
            _run(f"DELETE FROM {parent} WHERE id = {pk}")
        with pytest.raises(IntegrityError, match=f"{parent} {pk} is named by "), transaction.atomic():
            _run(f"UPDATE {parent} SET id = {NOBODY} WHERE id = {pk}")


def _run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_what_a_row_is_just_about_to_name_is_not_removed_meanwhile(project: Project, owner: User) -> None:
    price = PriceFactory()
    with transaction.atomic():
        charged(project, owner, price)
        with (
            psycopg.connect(**connection.get_connection_params()) as other,
            pytest.raises(psycopg.errors.LockNotAvailable),
        ):
            other.execute("SELECT FROM catalog_price WHERE id = %s FOR UPDATE NOWAIT", [price.pk])
