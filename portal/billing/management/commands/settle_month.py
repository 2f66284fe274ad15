from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from portal.billing import settlement
from portal.billing.management.arguments import month
from portal.billing.models import Settlement
from portal.catalog.models import Provider
from portal.core.periods import BillingMonth


class Command(BaseCommand):
    help = (
        "Settles a month between members, as far as rules are there (set_revenue_rule), and prints it as JSON: what "
        "each pair owes, what they pay in the end, and where each member stands. Repeatable. A pair is written when "
        "the contracting member has closed the month with all its customers (close_month). Exit code 1 when a rule is "
        "missing, or charges came into a month that was settled."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("month", type=month, metavar="YYYY-MM")

    def handle(self, *args: Any, **options: Any) -> None:
        chosen: BillingMonth = options["month"]
        closed = settlement.close(chosen, by="operator")
        settled = settlement.settle(chosen)
        changed = settlement.changed_since(settled, closed)
        self.stdout.write(json.dumps(_report(settled, closed, changed), ensure_ascii=False, indent=2))
        if (closed and changed) or settled.without_rule:
            sys.exit(1)


def _report(settled: settlement.Settled, closed: list[Settlement], changed: list[Settlement]) -> dict[str, Any]:
    slugs: dict[int, str] = dict(Provider.objects.values_list("pk", "slug"))
    code_of = {row.members: row.code for row in closed}
    return {
        "month": str(settled.month),
        "charged": settled.charged,
        "pairs": [
            {
                "settlement": code_of.get(pair.members),
                "contracting": slugs[pair.contracting_id],
                "host": slugs[pair.host_id],
                "gross": pair.gross,
                "fee": pair.fee,
                "net": pair.net,
            }
            for pair in settled.pairs
        ],
        "transfers": [
            {"from": slugs[one.payer_id], "to": slugs[one.payee_id], "amount": one.amount}
            for one in settlement.transfers(closed or settled.pairs)
        ],
        "members": [
            {
                "member": slugs[one.member_id],
                "collected": one.collected,
                "paid": one.paid,
                "received": one.received,
                "balance": one.balance,
            }
            for one in settled.positions
        ],
        "without_rule": [
            {
                "contracting": slugs[one.contracting_id],
                "host": slugs[one.host_id],
                "form": one.sale_form,
                "from": one.day.isoformat(),
                "gross": one.gross,
            }
            for one in settled.without_rule
        ],
        "not_closed": sorted(slugs[pk] for pk in settlement.not_closed(settled.month)),
        "changed_since": [row.code for row in changed],
    }
