"""What a provider's statement and our records say differently: kept until a person has decided what it means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from django.db import transaction
from django.utils import timezone

from portal.accounts.models import User
from portal.audit import recording as audit
from portal.catalog.models import ProviderAccount
from portal.usage.models import Difference, DifferenceKind, DifferenceState, UsageReport


@dataclass(frozen=True)
class Compared:
    """`theirs` from the statement, `ours` from the records, in the unit of the kind."""

    kind: DifferenceKind
    subject: str
    ours: int
    theirs: int
    tolerance: int

    @property
    def differs(self) -> bool:
        return abs(self.theirs - self.ours) > self.tolerance


class DecidedAlready(Exception):
    """Somebody has decided this difference already."""


@transaction.atomic
def keep(account: ProviderAccount, day: date, report: UsageReport, compared: Iterable[Compared]) -> None:
    """Write down what differs. A difference that is known and open gets the newest figures; a decided one stays."""
    for one in compared:
        if not one.differs:
            continue
        known, new = Difference.objects.select_for_update().get_or_create(
            account=account, day=day, kind=one.kind, subject=one.subject,
            defaults={"report": report, "ours": one.ours, "theirs": one.theirs},
        )  # fmt: skip
        if not new and known.state == DifferenceState.OPEN:
            Difference.objects.filter(pk=known.pk).update(report=report, ours=one.ours, theirs=one.theirs)


@transaction.atomic
def decide(difference: Difference, *, state: DifferenceState, reason: str, by: User) -> None:
    """A person explains or accepts it. Raises DecidedAlready; ValueError without a reason, or for a state that is no
    decision. The caller has checked that the person may."""
    if state == DifferenceState.OPEN or not reason.strip():
        raise ValueError("A decision explains or accepts, and has a reason.")
    known = Difference.objects.select_for_update().get(pk=difference.pk)
    if known.state != DifferenceState.OPEN:
        raise DecidedAlready
    decided = {"state": state, "reason": reason.strip(), "decided_by": by, "decided_at": timezone.now()}
    Difference.objects.filter(pk=known.pk).update(**decided)
    audit.record(
        "difference.decided",
        f"difference:{known.pk}",
        actor=f"user:{by.pk}",
        detail={"state": state.value, "reason": reason.strip(), "ours": known.ours, "theirs": known.theirs},
    )
