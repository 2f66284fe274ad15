import pytest
from django.db import IntegrityError, connection, transaction

from portal.accounts.models import Organization, Project, User
from portal.billing import ledger
from portal.billing.models import BillingAccount, LedgerAccount, LedgerEntry
from tests.factories import PriceFactory
from tests.factories.billing import give_credit, jst, metered

A, H, I, S = LedgerAccount.AVAILABLE, LedgerAccount.HELD, LedgerAccount.ISSUED, LedgerAccount.SPENT  # noqa: E741


def sums(organization: Organization) -> tuple[int, int, int]:
    account = BillingAccount.objects.get(organization=organization)
    return account.credit, account.held, account.posted


def test_post_writes_the_sides_and_moves_the_sums(organization: Organization) -> None:
    with transaction.atomic():
        account = ledger.locked(organization)
        posting = ledger.post(account, {I: -500, A: 500}, reference="credit:1", by="user:7")
        ledger.post(account, {A: -200, H: 200}, reference="hold:J", by="user:7")
        ledger.post(account, {H: -150, S: 150}, reference="charge:1", by="portal:rating")
    assert sums(organization) == (350, 50, 150)
    first = LedgerEntry.objects.filter(posting=posting).order_by("account")
    assert list(first.values_list("account", "amount", "reference", "by")) == [
        ("available", 500, "credit:1", "user:7"),
        ("issued", -500, "credit:1", "user:7"),
    ]


def test_post_refuses_what_does_not_add_up(organization: Organization) -> None:
    with pytest.raises(ledger.Unbalanced), transaction.atomic():
        ledger.post(ledger.locked(organization), {I: -500, A: 499}, reference="credit:1", by="portal:test")
    assert LedgerEntry.objects.count() == 0


def test_post_of_nothing_writes_nothing(organization: Organization) -> None:
    with transaction.atomic():
        assert ledger.post(ledger.locked(organization), {H: 0, A: 0}, reference="release:J", by="portal:test") is None
    assert LedgerEntry.objects.count() == 0


def test_the_database_refuses_more_held_than_there_is_credit(organization: Organization) -> None:
    with pytest.raises(IntegrityError, match="account_never_overdrawn"), transaction.atomic():
        ledger.post(ledger.locked(organization), {A: -1, H: 1}, reference="hold:J", by="portal:test")


def test_the_database_refuses_an_unbalanced_posting(organization: Organization) -> None:
    with pytest.raises(IntegrityError, match="does not add up to zero"), transaction.atomic(), connection.cursor() as c:
        c.execute(
            "INSERT INTO billing_ledgerentry (organization_id, posting, account, amount, reference, by, at)"
            " VALUES (%s, gen_random_uuid(), 'available', 5, 'x', 'x', now())",
            [organization.pk],
        )


POSTED = ["billing_ledgerentry", "billing_charge", "billing_credituse", "usage_usagerecord", "audit_auditevent"]


@pytest.mark.parametrize("table", POSTED)
@pytest.mark.parametrize(
    "statement",
    ["UPDATE {} SET id = id", "UPDATE {} SET id = -id WHERE id > 0", "DELETE FROM {}", "TRUNCATE {} CASCADE"],
)
def test_the_database_refuses_to_change_or_remove_what_is_posted(
    project: Project, owner: User, table: str, statement: str
) -> None:
    """20 of more than 50, with those of issued invoices (test_invoicing.py) and settlements (test_settlement.py)."""
    give_credit(project, 1000)
    metered(project, owner, PriceFactory(), job_code="J-1", started_at=jst(2026, 11, 24), seconds=600, held=500)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # no check of a key is pending: it is the trigger that refuses
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(table))
