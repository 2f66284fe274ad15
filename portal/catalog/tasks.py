"""The catalog's timetable: see portal/celery.py."""

from celery import shared_task

from portal.catalog import sync, waitlist
from portal.catalog.models import ProviderAccount
from portal.providers.registry import TELLS_AVAILABILITY, TELLS_PRICES


@shared_task(name="catalog.sync_offerings")
def sync_offerings() -> None:
    """Asked of the shared pool alone: an organization's own account may have prices and machines of its own."""
    accounts = ProviderAccount.objects.filter(active=True, organization=None, kind__in=TELLS_PRICES)
    for account in accounts.select_related("provider"):
        sync.sync_prices(account)


@shared_task(name="catalog.observe_availability")
def observe_availability() -> None:
    """One message per account of the shared pool: a provider that hangs does not keep the others waiting."""
    accounts = ProviderAccount.objects.filter(active=True, organization=None, kind__in=TELLS_AVAILABILITY)
    for pk in accounts.values_list("pk", flat=True):
        observe_account.delay(pk)


@shared_task(name="catalog.observe_account")
def observe_account(account_id: int) -> None:
    pool = ProviderAccount.objects.filter(active=True, organization=None)  # whose machines the pages tell about
    account = pool.select_related("provider").filter(pk=account_id).first()
    if account and sync.observe_availability(account):
        waitlist.tell()
