from datetime import date
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from portal.accounts.models import User
from portal.audit.models import AuditEvent
from portal.catalog.models import ProviderAccount
from portal.usage import intake
from portal.usage.differences import Compared, DecidedAlready, decide, keep
from portal.usage.models import Difference, DifferenceKind, DifferenceState, UsageReport
from tests.factories import ProviderAccountFactory, UserFactory

DAY = date(2026, 11, 24)
JOB = DifferenceKind.JOB


@pytest.fixture
def account(db: None) -> ProviderAccount:
    return ProviderAccountFactory()


@pytest.fixture
def person(db: None) -> User:
    return UserFactory()


def said(account: ProviderAccount, body: bytes = b"first") -> UsageReport:
    return intake.keep(account.provider, source="slurm_rest", body=body)


def rows() -> list[tuple[Any, ...]]:
    return list(Difference.objects.order_by("pk").values_list("subject", "ours", "theirs", "state", "report__body"))


def test_only_what_differs_by_more_than_the_tolerance_is_written_down_and_once(account: ProviderAccount) -> None:
    compared = [Compared(JOB, "a1", 100, 105, 5), Compared(JOB, "a2", 100, 94, 5), Compared(JOB, "a3", 0, 6, 5)]
    for _ in range(2):
        keep(account, DAY, said(account), compared)
    assert [row[:4] for row in rows()] == [("a2", 100, 94, "open"), ("a3", 0, 6, "open")]


def test_an_open_difference_has_the_newest_figures_and_a_decided_one_stays(
    account: ProviderAccount, person: User
) -> None:
    keep(account, DAY, said(account), [Compared(JOB, "a1", 1, 9, 5), Compared(JOB, "a2", 1, 9, 5)])
    decide(Difference.objects.get(subject="a1"), state=DifferenceState.ACCEPTED, reason=" rounding ", by=person)
    later = said(account, b"second")
    keep(account, DAY, later, [Compared(JOB, "a1", 2, 20, 5), Compared(JOB, "a2", 2, 20, 5)])
    keep(account, DAY, said(account), [Compared(JOB, "a2", 2, 2, 5)])  # it is well now: still nobody has said why
    assert [(*row[:4], bytes(row[4])) for row in rows()] == [
        ("a1", 1, 9, "accepted", b"first"),
        ("a2", 2, 20, "open", b"second"),
    ]


def test_a_decision_has_a_person_and_a_reason_and_is_made_once(account: ProviderAccount, person: User) -> None:
    keep(account, DAY, said(account), [Compared(JOB, "a1", 1, 9, 5)])
    difference = Difference.objects.get()
    for state, reason in ((DifferenceState.OPEN, "why"), (DifferenceState.EXPLAINED, "  ")):
        with pytest.raises(ValueError, match="has a reason"):
            decide(difference, state=state, reason=reason, by=person)
    decide(difference, state=DifferenceState.EXPLAINED, reason="clock of node 3", by=person)
    with pytest.raises(DecidedAlready):
        decide(difference, state=DifferenceState.ACCEPTED, reason="again", by=person)
    difference.refresh_from_db()
    assert (difference.state, difference.reason, difference.decided_by) == ("explained", "clock of node 3", person)
    event = AuditEvent.objects.get(act="difference.decided")
    assert (event.actor, event.detail) == (
        f"user:{person.pk}",
        {"state": "explained", "reason": "clock of node 3", "ours": 1, "theirs": 9},
    )
    with pytest.raises(IntegrityError, match="decided_by_a_person"), transaction.atomic():
        Difference.objects.update(reason="")
