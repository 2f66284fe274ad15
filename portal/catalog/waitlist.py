""" "Tell me when it is free": the line in front of a plan, by these rules and no other.

1. First come, first served, whoever it is.
2. One is told when as many GPUs as they asked for were seen free, and those before them were told.
3. GPUs that somebody was told of count as taken for ten minutes. Nothing is reserved by that.
4. Once told, one is out of the line; whoever still finds it full joins at its end.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F, Func, OuterRef, QuerySet, Subquery, Sum
from django.utils import timezone

from portal.accounts.models import Organization, User
from portal.audit import recording as audit
from portal.catalog.availability import STALE_AFTER
from portal.catalog.emails import send_free
from portal.catalog.models import CapacityObservation, Offering, OfferingKind, WaitlistEntry
from portal.providers.registry import TELLS_AVAILABILITY

KEPT_FREE = timedelta(minutes=10)
MOST = 20  # lines that one person stands in


class CannotWait(Exception):
    """`code`: full (too many lines), gpus (the plan never has so many)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def watched() -> QuerySet[Offering]:
    """Plans whose provider says what is free: of the others nobody could be told anything."""
    offerings = Offering.objects.filter(active=True, on_request=False, unlisted_since=None, kind=OfferingKind.JOB)
    return offerings.filter(adapter__in=TELLS_AVAILABILITY).select_related("provider")


def join(offering: Offering, *, gpus: int, organization: Organization, by: User) -> WaitlistEntry:
    """At the end of the line; who stands in it already keeps their place, with the new number. Raises CannotWait."""
    if not offering.allows_gpus(gpus):
        raise CannotWait("gpus")
    try:
        return _join(offering, gpus, organization, by)
    except IntegrityError:  # clicked twice: the other one has made the row
        return _join(offering, gpus, organization, by)


def _join(offering: Offering, gpus: int, organization: Organization, by: User) -> WaitlistEntry:
    with transaction.atomic():
        mine = WaitlistEntry.objects.filter(user=by, told_at=None)
        known = mine.filter(organization=organization, offering=offering).select_for_update().first()
        if known is not None:
            known.gpus = gpus
            known.save(update_fields=["gpus"])
            return known
        if mine.count() >= MOST:
            raise CannotWait("full")
        entry = WaitlistEntry.objects.create(user=by, organization=organization, offering=offering, gpus=gpus)
        audit.record(
            "waitlist.joined",
            f"offering:{offering.slug}",
            actor=f"user:{by.pk}",
            chain=organization.code,
            detail={"gpus": gpus},
        )
    return entry


def leave(entry: WaitlistEntry) -> None:
    WaitlistEntry.objects.filter(pk=entry.pk, told_at=None).delete()


def in_line(user: User, organization: Organization) -> QuerySet[WaitlistEntry]:
    """Where a person waits, each with `place`: 1 is the next. The oldest first."""
    before = (
        WaitlistEntry.objects.filter(offering=OuterRef("offering"), told_at=None, pk__lt=OuterRef("pk"))
        .order_by()
        .annotate(n=Func(F("pk"), function="count"))
        .values("n")
    )
    mine = WaitlistEntry.objects.filter(user=user, organization=organization, told_at=None)
    return mine.select_related("offering").annotate(place=Subquery(before) + 1).order_by("pk")


def tell(now: datetime | None = None) -> int:
    """Those whose turn it is, of every plan; how many. Told twice is nobody: the row says so before the mail leaves."""
    now = now or timezone.now()
    told = 0
    waiting = WaitlistEntry.objects.filter(told_at=None)
    for offering_id in list(waiting.order_by("offering").values_list("offering", flat=True).distinct()):
        told += _tell_of(offering_id, now)
    return told


def _tell_of(offering_id: int, now: datetime) -> int:
    seen = CapacityObservation.objects.filter(offering=offering_id, observed_at__gte=now - STALE_AFTER)
    newest = seen.order_by("-observed_at").first()
    if newest is None or not newest.free_gpus:
        return 0
    with transaction.atomic():
        waiting = WaitlistEntry.objects.select_for_update(of=("self",)).filter(offering=offering_id, told_at=None)
        entries = list(waiting.select_related("user", "offering").order_by("pk")[:100])
        lately = WaitlistEntry.objects.filter(offering=offering_id, told_at__gt=now - KEPT_FREE)
        free = newest.free_gpus - (lately.aggregate(gpus=Sum("gpus"))["gpus"] or 0)
        turn = []
        for entry in entries:
            if entry.gpus > free:
                break  # nobody passes another
            free -= entry.gpus
            turn.append(entry)
        WaitlistEntry.objects.filter(pk__in=[entry.pk for entry in turn]).update(told_at=now, seen=newest)
    for entry in turn:
        if entry.user.is_active:
            send_free(entry, seen=newest)
    return len(turn)
