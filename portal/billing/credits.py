"""Money to use here: given, paid before or to be invoiced; used up in that order, and gone when it expires unused."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from portal.accounts.models import Organization, User
from portal.audit import recording as audit
from portal.billing import ledger
from portal.billing.models import BillingAccount, Credit, CreditKind, LedgerAccount, Trial


def had_trial(person: User) -> bool:
    """Also with another account, whose e-mail address is this person's now."""
    return Trial.objects.filter(Q(founder=person) | Q(email=person.email)).exists()


@transaction.atomic
def grant_trial(organization: Organization, *, founder: User) -> Credit | None:
    """The credit a person gets with the first organization they found: None for whoever had it before.

    A second call for the same organization gives the one that is there.
    """
    account = ledger.locked(organization)
    known = Credit.objects.filter(organization=organization, kind=CreditKind.TRIAL).first()
    if known:
        return known
    # The database decides between two at once: the second waits here for the first, and its row is left out.
    Trial.objects.bulk_create(
        [Trial(founder=founder, email=founder.email, organization=organization)], ignore_conflicts=True
    )
    if not Trial.objects.filter(organization=organization).exists():
        return None
    return _give(
        account,
        organization,
        kind=CreditKind.TRIAL,
        amount=settings.TRIAL_CREDIT_YEN,
        expires_at=timezone.now() + timedelta(days=settings.TRIAL_CREDIT_DAYS),
        by="portal:trial",
    )


@transaction.atomic
def grant(
    organization: Organization, *, kind: CreditKind, amount: int, by: str, expires_at: datetime | None = None
) -> Credit:
    """Add whole yen of credit. Each call is one more credit; the trial has its own function."""
    if amount <= 0:
        raise ValueError("A credit is more than nothing.")
    return _give(ledger.locked(organization), organization, kind=kind, amount=amount, expires_at=expires_at, by=by)


def expire_due(at: datetime | None = None) -> int:
    """Take back what expired unused, one organization per transaction. Yen taken. Repeatable at any moment."""
    at = at or timezone.now()
    due = Credit.objects.filter(expires_at__lte=at, amount__gt=F("used") + F("expired"))
    taken = 0
    for organization_id in due.order_by("organization_id").values_list("organization_id", flat=True).distinct():
        with transaction.atomic():
            taken += expire(ledger.locked(organization_id), at)
    return taken


def expire(account: BillingAccount, at: datetime) -> int:
    """`expire_due` for one locked account. What jobs hold stays: they were let in while the credit was good."""
    kept, taken = account.held, 0
    due = Credit.objects.filter(organization=account.organization_id, expires_at__lte=at)
    for credit in due.filter(amount__gt=F("used") + F("expired")).order_by("expires_at", "pk"):
        gone = max(0, credit.left - kept)
        kept = max(0, kept - credit.left)
        if gone:
            credit.expired += gone
            credit.save(update_fields=["expired"])
            ledger.post(
                account,
                {LedgerAccount.AVAILABLE: -gone, LedgerAccount.ISSUED: gone},
                reference=f"credit:{credit.pk}",
                by="portal:expiry",
            )
            taken += gone
    return taken


def withdraw(account: BillingAccount, credits: Iterable[Credit], amount: int, *, by: str) -> None:
    """Take what is unused of these credits of a locked account away, in this order, until it is `amount`."""
    for credit in credits:
        part = min(amount, credit.left)
        if part:
            credit.expired += part
            credit.save(update_fields=["expired"])
            ledger.post(
                account,
                {LedgerAccount.AVAILABLE: -part, LedgerAccount.ISSUED: part},
                reference=f"credit:{credit.pk}",
                by=by,
            )
            amount -= part


def _give(
    account: BillingAccount,
    organization: Organization,
    *,
    kind: CreditKind,
    amount: int,
    expires_at: datetime | None,
    by: str,
) -> Credit:
    credit = Credit.objects.create(
        organization=organization, kind=kind, amount=amount, expires_at=expires_at, issued_by=by
    )
    ledger.post(
        account,
        {LedgerAccount.ISSUED: -amount, LedgerAccount.AVAILABLE: amount},
        reference=f"credit:{credit.pk}",
        by=by,
    )
    audit.record(
        "credit.granted",
        f"credit:{credit.pk}",
        actor=by,
        chain=organization.code,
        detail={"kind": kind, "amount": amount, "expires_at": expires_at.isoformat() if expires_at else None},
    )
    return credit
