"""What commands about members are given, read into what it names."""

from __future__ import annotations

from argparse import ArgumentTypeError

from django.core.management.base import CommandError

from portal.catalog.models import Provider
from portal.core.periods import BillingMonth


def month(given: str) -> BillingMonth:
    """For argparse: 2026-11."""
    try:
        return BillingMonth.parse(given)
    except ValueError:
        raise ArgumentTypeError("a month such as 2026-11") from None


def member(slug: str) -> Provider:
    provider = Provider.objects.filter(slug=slug).first()
    if provider is None:
        known = ", ".join(Provider.objects.order_by("position").values_list("slug", flat=True))
        raise CommandError(f"There is no member {slug}. Members: {known or 'run prepare first'}.")
    return provider
