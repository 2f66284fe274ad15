"""Each usage record becomes one charge, at the price it carries."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

from django.db import connection, transaction
from django.db.models import Q, Sum

from portal.audit import recording as audit
from portal.billing import credits, ledger
from portal.billing.models import Charge, Hold, LedgerAccount
from portal.catalog.models import Price
from portal.catalog.pricing import cost_of_job
from portal.core.periods import BillingMonth
from portal.usage.models import UsageRecord

# A price has at most 9 decimals with its tax, and an hour 3,600 seconds: any cost is a multiple of 1/3.6e12 yen.
# Rounding to 15 decimals therefore undoes what division left behind (0.999… of a yen) and invents nothing.
_SNAP = Decimal("1e-15")
_KEPT = Decimal("1e-9")


@transaction.atomic
def rate(record: UsageRecord) -> Charge:
    """Charge the record, out of its job's hold. The same record again gives the charge that is there.

    The amount is what the whole job costs so far, cut to whole yen, less what was charged before: any sum of charges is
    right to the yen. More than the hold is never charged: `exact` keeps it, and the audit trail says by how much.
    """
    account = ledger.locked(record.organization_id)
    known: Charge | None = Charge.objects.filter(record=record).first()
    if known:
        return known
    hold = Hold.objects.select_for_update().filter(job_code=record.job_code).first()
    before = Charge.objects.filter(job_code=record.job_code).aggregate(
        amount=Sum("amount", default=0), exact=Sum("exact", default=Decimal(0))
    )
    total = _cost_so_far(record)
    due = int(total) - before["amount"]
    amount = min(due, hold.left if hold else 0)
    charge: Charge = Charge.objects.create(
        record=record,
        organization_id=record.organization_id,
        project_id=record.project_id,
        provider_id=record.provider_id,
        offering_id=record.offering_id,
        price_id=record.price_id,
        job_code=record.job_code,
        day=record.day,
        amount=amount,
        exact=total.quantize(_KEPT, ROUND_DOWN) - before["exact"],
        tax_percent=record.price.tax_percent,
        contracting_member_id=record.offering.contracting_member_id,
        service_member_id=record.offering.service_member_id,
        host_member_id=record.offering.host_member_id,
    )
    if hold and amount:
        hold.used += amount
        hold.save(update_fields=["used"])
        credits.use(charge)
        ledger.post(
            account,
            {LedgerAccount.HELD: -amount, LedgerAccount.SPENT: amount},
            reference=f"charge:{charge.pk}",
            by="portal:rating",
        )
    _add_to_sums(charge, record)
    if due > amount:
        audit.record(
            "charge.overrun",
            f"job:{record.job_code}",
            actor="portal:rating",
            chain=record.organization.code,
            detail={"charge": charge.pk, "not_charged": due - amount},
        )
    return charge


def _cost_so_far(record: UsageRecord) -> Decimal:
    """Exact yen of the job's charged records and this one. A minimum counts once for the job, not for each record."""
    counted = Q(charge__isnull=False) | Q(pk=record.pk)
    parts = UsageRecord.objects.filter(counted, job_code=record.job_code).values("price", "gpus")
    used = list(parts.annotate(seconds=Sum("seconds")).order_by())
    prices = Price.objects.in_bulk({part["price"] for part in used})
    total = sum(
        (cost_of_job(prices[part["price"]], gpus=part["gpus"], seconds=part["seconds"]) for part in used), Decimal(0)
    )
    return total.quantize(_SNAP)


def _add_to_sums(charge: Charge, record: UsageRecord) -> None:
    """The database adds, so that writers at the same moment lose nothing."""
    place = [charge.organization_id, charge.project_id, charge.offering_id]
    month = BillingMonth(charge.day.year, charge.day.month).first_day
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO billing_dailycharge AS known
                (organization_id, project_id, offering_id, provider_id, day, amount)
            VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT (organization_id, day, project_id, provider_id, offering_id)
            DO UPDATE SET amount = known.amount + EXCLUDED.amount
            """,
            [*place, charge.provider_id, charge.day, charge.amount],
        )
        cursor.execute(
            """
            INSERT INTO billing_jobcharge AS known
                (organization_id, project_id, offering_id, job_code, month, amount, gpu_seconds)
            VALUES (%s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (job_code, month) DO UPDATE SET
                amount = known.amount + EXCLUDED.amount,
                gpu_seconds = known.gpu_seconds + EXCLUDED.gpu_seconds,
                offering_id = EXCLUDED.offering_id
            """,
            [*place, charge.job_code, month, charge.amount, record.gpu_seconds],
        )
