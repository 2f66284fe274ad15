from __future__ import annotations

import structlog
from celery import shared_task
from django.utils import timezone

from portal.billing import alerts, credits, documents, invoicing, spend_requests, storage_charges
from portal.celery import nudge
from portal.core.periods import billing_month

log = structlog.get_logger(__name__)


@shared_task(name="billing.expire_credits")  # type: ignore[untyped-decorator]
def expire_credits() -> None:
    """Credits past their day lose what is left of them. May be late: holds do it for their own organization first."""
    credits.expire_due()


@shared_task(name="billing.charge_storage")  # type: ignore[untyped-decorator]
def charge_storage() -> None:
    """Days of stored bytes that have a price become charges; three queries and no more where none is due."""
    storage_charges.charge_storage()


@shared_task(name="billing.close_months")  # type: ignore[untyped-decorator]
def close_months() -> None:
    """Every month that is over and open becomes invoices; what cannot be closed is told and tried again tomorrow."""
    for outcome in invoicing.close_months(billing_month(timezone.now()).previous, by="portal:close"):
        if outcome.problem:
            log.error(
                "month_not_closed",
                organization=outcome.organization.code,
                member=outcome.member.slug,
                month=str(outcome.month),
                problem=outcome.problem,
            )
    nudge(make_documents)


@shared_task(name="billing.make_documents")  # type: ignore[untyped-decorator]
def make_documents() -> None:
    """PDFs that invoices lack, as many as one message is worth; the rest by the next."""
    try:
        made = documents.make_missing()
    except documents.NotAvailable as missing:
        log.error("no_pdf_on_this_server", missing=str(missing))
        return
    if made >= documents.MADE_AT_ONCE:
        nudge(make_documents)


@shared_task(name="billing.watch_budgets")  # type: ignore[untyped-decorator]
def watch_budgets(organization_id: int | None = None) -> None:
    """Thresholds reached, requests past their time -> written down; mails about both -> sent.

    Without an id of all organizations: the sweep for what no message told.
    """
    alerts.note_reached(organization_id)
    spend_requests.expire_due()
    alerts.tell()
    spend_requests.tell()
