from celery import shared_task

from portal.billing import alerts, credits, spend_requests


@shared_task(name="billing.expire_credits")  # type: ignore[untyped-decorator]
def expire_credits() -> None:
    """Credits past their day lose what is left of them. May be late: holds do it for their own organization first."""
    credits.expire_due()


@shared_task(name="billing.watch_budgets")  # type: ignore[untyped-decorator]
def watch_budgets(organization_id: int | None = None) -> None:
    """Thresholds reached, requests past their time -> written down; mails about both -> sent.

    Without an id of all organizations: the sweep for what no message told.
    """
    alerts.note_reached(organization_id)
    spend_requests.expire_due()
    alerts.tell()
    spend_requests.tell()
