"""To whom an organization's invoices are addressed. Those that are issued already keep what they say."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from portal.accounts.models import Organization, User
from portal.audit import recording as audit
from portal.billing.models import BillingProfile

FIELDS = ("name", "department", "postal_code", "address", "purchase_order", "payment_term_days")


def profile_of(organization: Organization) -> BillingProfile:
    """Of an organization that has never set one: empty, not stored."""
    return BillingProfile.objects.filter(organization=organization).first() or BillingProfile(organization=organization)


@transaction.atomic
def set_profile(organization: Organization, values: dict[str, Any], *, by: User) -> BillingProfile:
    """`values`: all of FIELDS. What is as it was changes nothing. The caller has checked that the person may."""
    BillingProfile.objects.get_or_create(organization=organization)
    profile = BillingProfile.objects.select_for_update().get(organization=organization)
    changed = {name: values[name] for name in FIELDS if getattr(profile, name) != values[name]}
    if changed:
        for name, value in changed.items():
            setattr(profile, name, value)
        profile.updated_by, profile.updated_at = by, timezone.now()
        profile.save()
        audit.record(
            "invoice_address.set",
            f"organization:{organization.code}",
            actor=f"user:{by.pk}",
            chain=organization.code,
            detail=changed,
        )
    return profile
