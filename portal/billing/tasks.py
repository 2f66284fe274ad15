from celery import shared_task

from portal.billing import credits


@shared_task(name="billing.expire_credits")  # type: ignore[untyped-decorator]
def expire_credits() -> None:
    """Credits past their day lose what is left of them. May be late: holds do it for their own organization first."""
    credits.expire_due()
