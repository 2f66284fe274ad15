from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.utils import timezone

from portal.catalog import sources, sync
from portal.catalog.models import Price
from portal.providers.base import RemoteOffering
from tests.factories import PriceFactory

NOW = datetime(2026, 11, 24, 4, 7, tzinfo=UTC)


def _published(amount: str) -> RemoteOffering:
    return RemoteOffering(plan="h100-80gb", name="H100", unit_price=Decimal(amount), unit="second", minimum_s=60)


def test_an_equal_price_is_confirmed_and_not_repeated(db: None) -> None:
    price = PriceFactory(confirmed=False)
    assert sync._take_over(price.offering, _published("0.28"), source=sources.PROVIDER_API, now=NOW) is False
    price.refresh_from_db()
    assert (price.confirmed, price.source, price.as_of, Price.objects.count()) == (
        True, sources.PROVIDER_API, timezone.localdate(NOW), 1
    )  # fmt: skip


def test_a_changed_price_ends_the_old_row_and_begins_a_new_one(db: None) -> None:
    old = PriceFactory()
    assert sync._take_over(old.offering, _published("0.30"), source=sources.PROVIDER_API, now=NOW) is True
    old.refresh_from_db()
    new = Price.objects.exclude(pk=old.pk).get()
    assert (old.amount, old.valid_to, new.amount, new.valid_from, new.valid_to) == (
        Decimal("0.28"), NOW, Decimal("0.30"), NOW, None
    )  # fmt: skip
    assert sync._take_over(old.offering, _published("0.30"), source="x", now=NOW + timedelta(days=1)) is False
