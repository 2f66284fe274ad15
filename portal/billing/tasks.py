from celery import shared_task

from portal.billing import credits, storage_charges


@shared_task(name="billing.expire_credits")  # type: ignore[untyped-decorator]
def expire_credits() -> None:
    """Credits past their day lose what is left of them. May be late: holds do it for their own organization first."""
    credits.expire_due()


@shared_task(name="billing.charge_storage")  # type: ignore[untyped-decorator]
def charge_storage() -> None:
    """Days of stored bytes that have a price become charges; three queries and no more where none is due."""
    storage_charges.charge_storage()
