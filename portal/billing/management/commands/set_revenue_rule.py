from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from portal.audit.recording import record
from portal.billing.management.arguments import member
from portal.billing.models import RevenueRule
from portal.catalog.models import SaleForm


class Command(BaseCommand):
    help = (
        "Says what a member that runs the machines gets of what another member charges for them. A rule is never "
        "changed: a new one holds from its day on, or instead of one of the same day. Months that are settled stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("contracting", help="who issues the invoice: the member's short name, such as kddi")
        parser.add_argument("host", help="whose machines these are, or any: whoever has no rule of their own")
        parser.add_argument(
            "form", choices=SaleForm.values, help="sold under the host's name, or the contracting one's"
        )
        share = parser.add_mutually_exclusive_group(required=True)
        share.add_argument(
            "--percent", type=_percent, metavar="N", help="of the charge, tax included, goes to the host"
        )
        share.add_argument("--yen-per-gpu-hour", type=_yen, metavar="YEN", help="goes to the host, tax included")
        parser.add_argument(
            "--host-bears-given-credit",
            action="store_true",
            help="it gets nothing of what was paid with trial credit and the like; else the other one bears it",
        )
        parser.add_argument("--from", dest="valid_from", type=_day, required=True, metavar="YYYY-MM-DD")
        parser.add_argument("--source", required=True, help="where it is agreed, such as a contract and its date")
        parser.add_argument("--confirmed", action="store_true", help="both members have confirmed it")

    def handle(self, *args: Any, **options: Any) -> None:
        contracting = member(options["contracting"])
        host = None if options["host"] == "any" else member(options["host"])
        with transaction.atomic():
            rule = RevenueRule.objects.create(
                contracting_member=contracting,
                host_member=host,
                sale_form=options["form"],
                percent=options["percent"],
                yen_per_gpu_hour=options["yen_per_gpu_hour"],
                host_bears_given_credit=options["host_bears_given_credit"],
                valid_from=options["valid_from"],
                source=options["source"],
                confirmed=options["confirmed"],
            )
            record("revenue_rule.set", f"revenue_rule:{rule.pk}", actor="operator")
        self.stdout.write(f"Rule {rule.pk} holds from {rule.valid_from}.")


def _percent(given: str) -> Decimal:
    return _number(given, places=2, most=100)


def _yen(given: str) -> Decimal:
    return _number(given, places=6, most=10_000_000)


def _number(given: str, *, places: int, most: int) -> Decimal:
    """NaN, a sign and more places than are kept are refused."""
    try:
        number = Decimal(given) if given.isascii() else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if number.is_nan() or not 0 <= number <= most or number != round(number, places):
        raise ArgumentTypeError(f"a number from 0 to {most} with up to {places} places")
    return number


def _day(given: str) -> date:
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise ArgumentTypeError("a day such as 2026-12-01") from None
