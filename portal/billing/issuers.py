"""Who issues invoices for a member: name, registration number and bank as printed, each from a day on."""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from django.db import transaction

from portal.audit import recording as audit
from portal.billing.models import Issuer
from portal.catalog.models import Provider


class NoIssuer(Exception):
    """Nobody is set who issues invoices for this member: `manage.py set_issuer`."""


class NotARegistrationNumber(ValueError):
    """A registration number is T and 13 digits, the first of which checks the others."""


def registration_number(text: str) -> str:
    """As printed, "T" and 13 digits, from what people type. Raises NotARegistrationNumber.

    The digits of a corporation are its corporate number: first digit = 9 - (sum of the other twelve, from the right
    times 1, 2, 1, 2, ... mod 9). Source: 法人番号の指定等に関する省令, article 2, read 2026-11-24. Sole traders have
    numbers without that rule; the members of the alliance are corporations.
    """
    typed = re.sub(r"[\s-]", "", unicodedata.normalize("NFKC", text)).upper()
    if not re.fullmatch(r"T[0-9]{13}", typed) or int(typed[1]) != check_digit(typed[2:]):
        raise NotARegistrationNumber(text)
    return typed


def check_digit(twelve: str) -> int:
    """Of the twelve digits of a corporate number that follow it."""
    return 9 - sum(int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(twelve))) % 9


def issuer_of(member: Provider, *, on: date) -> Issuer:
    """Who issues for the member on this day. Raises NoIssuer."""
    issuer: Issuer | None = (
        Issuer.objects.filter(member=member, valid_from__lte=on).order_by("-valid_from", "-pk").first()
    )
    if issuer is None:
        raise NoIssuer(member.slug)
    return issuer


@transaction.atomic
def set_issuer(
    member: Provider, *, name: str, number: str, address: str, bank: str, valid_from: date, by: str
) -> Issuer:
    """One more dated row; invoices that are issued already stay as they are. Raises NotARegistrationNumber."""
    issuer: Issuer = Issuer.objects.create(
        member=member,
        name=name,
        registration_number=registration_number(number),
        address=address,
        bank=bank,
        valid_from=valid_from,
    )
    audit.record(
        "issuer.set",
        f"provider:{member.slug}",
        actor=by,
        detail={
            "name": name,
            "registration_number": issuer.registration_number,
            "address": address,
            "bank": bank,
            "valid_from": valid_from.isoformat(),
        },
    )
    return issuer
