from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection, transaction

from portal.accounts.models import Project, User
from portal.billing import credits, holds, invoicing
from portal.billing.models import Invoice, LedgerEntry
from portal.billing.payments import record, set_invoice_credit
from portal.billing.verification import verify
from portal.core.models import AppendOnly
from portal.core.periods import BillingMonth
from tests.factories import PriceFactory
from tests.factories.billing import jst, metered, set_issuer

TABLES = sorted(model._meta.db_table for model in apps.get_models() if issubclass(model, AppendOnly))


@pytest.fixture
def role(db: None) -> Iterator[str]:
    """Rolled back with the test."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE portal_web_test LOGIN")
    call_command("grant_role", "portal_web_test", stdout=StringIO())
    call_command("grant_role", "portal_web_test", stdout=StringIO())
    return "portal_web_test"


def become(role: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL ROLE {role}")


def test_the_role_cannot_change_remove_or_empty_what_is_append_only(role: str) -> None:
    become(role)
    refused = []
    for table in TABLES:
        for statement in ("UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
            with (
                pytest.raises(ProgrammingError, match="permission denied"),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(statement.format(table))
            refused.append(table)
    assert len(refused) == 3 * len(TABLES) >= 50


@pytest.mark.parametrize(
    "statement",
    [
        "SET LOCAL session_replication_role = replica",
        "ALTER TABLE billing_ledgerentry DISABLE TRIGGER ALL",
        "DROP TRIGGER billing_ledgerentry_append_only ON billing_ledgerentry",
        "DROP TABLE billing_ledgerentry CASCADE",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE sql AS 'SELECT NULL'",
        "TRUNCATE jobs_job CASCADE",
    ],
)
def test_the_role_cannot_switch_off_what_guards_them(role: str, statement: str) -> None:
    become(role)
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), transaction.atomic():
        connection.cursor().execute(statement)


def test_money_moves_from_credit_to_invoice_and_payment_under_the_role(
    role: str, project: Project, owner: User
) -> None:
    set_issuer()
    price = PriceFactory(amount="1", minimum_s=0)
    become(role)
    with time_machine.travel(jst(2026, 11, 24, 12)) as clock:
        set_invoice_credit(project.organization, 10_000, by="operator")
        metered(project, owner, price, job_code="J-1", started_at=jst(2026, 11, 24), seconds=600, held=1000)
        with transaction.atomic():
            holds.grow("J-1", amount=100, by="user:1")
            holds.release("J-1", by="user:1")
        clock.move_to(jst(2026, 12, 3, 3))
        invoicing.close(project.organization, member=price.offering.provider, month=BillingMonth(2026, 11), by="t")
        record(Invoice.objects.get(), amount=10, received_on=date(2026, 12, 3), by="operator")
        credits.expire_due()
    assert (LedgerEntry.objects.exists(), verify()) == (True, [])


def test_a_role_that_is_not_there_or_owns_everything_is_refused(db: None) -> None:
    with pytest.raises(CommandError, match="There is no role nobody_here"):
        call_command("grant_role", "nobody_here")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        owner: Any = cursor.fetchone()
    with pytest.raises(CommandError, match="nothing can be kept from it"):
        call_command("grant_role", owner[0])
