from celery import shared_task

from portal.billing import credits


@shared_task(name="billing.expire_credits")
def expire_credits() -> None:
    """Credits past their day lose what is left of them. Holds do the same for their own organization, so this may be late."""
    credits.expire_due()
