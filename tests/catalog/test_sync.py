from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from portal.catalog import sources, sync, tasks
from portal.catalog.models import CapacityObservation, Offering, Price, ProviderAccount
from portal.core.sealing import seal
from portal.jobs.fitting import refusals
from portal.jobs.request import JobRequest
from portal.providers.base import RemoteOffering
from tests.factories import OfferingFactory, OrganizationFactory, PriceFactory, ProviderAccountFactory
from tests.providers.answering import Asked, Reply, answering

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


def dok_with(price: str) -> Callable[[Asked], Reply]:
    def answer(asked: Asked) -> Reply:
        if asked.path.startswith("/plans/"):
            plans = [{"id": plan, "name": plan, "minimum_execution_seconds": 60} for plan in ("h100-80gb", "new-plan")]
            return Reply(body=plans)
        return Reply(body=[{"plan": "h100-80gb", "price": price, "is_overridden": price != "0.28"}])

    return answer


def account_at(url: str, offering: Offering, **given: object) -> ProviderAccount:
    credentials = seal({"token": "t", "secret": "s"})
    return ProviderAccountFactory(provider=offering.provider, endpoint=url, sealed_credentials=credentials, **given)


def test_an_organizations_own_price_stays_its_own(db: None) -> None:
    price = PriceFactory()
    with answering(to=dok_with("0.28")) as pool, answering(to=dok_with("0.10")) as own:
        account_at(pool.url, price.offering)
        account_at(own.url, price.offering, organization=OrganizationFactory())
        for _ in range(3):
            tasks.sync_offerings()
    assert list(Price.objects.values_list("amount", flat=True)) == [Decimal("0.28")]
    assert own.asked == []


@pytest.mark.parametrize(
    ("published", "amounts"),
    [
        ("0.0166666667", ["0.28", "0.016667"]),
        ("123456789.1", ["0.28"]),
        ("9" * 30, ["0.28"]),
        ("1E+30", ["0.28"]),
        ("99999999.9999999", ["0.28"]),
        ("0.0000000001", ["0.28"]),
        ("0.0000004999", ["0.28"]),
        ("1e-999999", ["0.28"]),
        ("1_0", ["0.28"]),
        ("０.５", ["0.28"]),
    ],
)
def test_odd_prices_make_one_row_or_none(db: None, published: str, amounts: list[str]) -> None:
    price = PriceFactory()
    with answering(to=dok_with(published)) as server:
        account = account_at(server.url, price.offering)
        for _ in range(3):
            sync.sync_prices(account)
    assert list(Price.objects.order_by("pk").values_list("amount", flat=True)) == [
        Decimal(amount) for amount in amounts
    ]


@pytest.mark.parametrize(
    "odd",
    [
        {"minimum_execution_seconds": -5}, {"minimum_execution_seconds": 10**30}, {"minimum_execution_seconds": 2**31},
        {"minimum_execution_seconds": 2**31 - 1}, {"minimum_execution_seconds": 20 * 86_400 + 1},
        {"minimum_execution_seconds": None}, {"id": "odd\0"}, {"id": "\ud800"},
    ],
    ids=["negative", "huge", "large", "as large as its column", "longer than any run", "missing", "NUL", "surrogate"],
)  # fmt: skip
def test_one_plan_that_cannot_be_read_keeps_no_other_from_its_price(db: None, odd: dict[str, object]) -> None:
    price, other = PriceFactory(), PriceFactory(offering__plan="odd", amount="0.1")
    plans = [{"id": plan, "name": plan, "minimum_execution_seconds": 60} for plan in ("odd", "h100-80gb")]
    prices = [{"plan": plan, "price": "0.30"} for plan in ("odd", "h100-80gb", "odd\0", "\ud800")]

    def answer(asked: Asked) -> Reply:
        return Reply(body=[{**plans[0], **odd}, plans[1]] if asked.path.startswith("/plans/") else prices)

    with answering(to=answer) as server:
        assert sync.sync_prices(account_at(server.url, price.offering)) == 1
    assert [list(one.offering.prices.order_by("pk").values_list("amount", flat=True)) for one in (price, other)] == [
        [Decimal("0.28"), Decimal("0.30")],
        [Decimal("0.1")],
    ]


def test_a_minimum_beyond_any_run_is_told_and_confirms_nothing(db: None, caplog: pytest.LogCaptureFixture) -> None:
    price = PriceFactory(confirmed=False)
    plan = {"id": "h100-80gb", "name": "H100", "minimum_execution_seconds": 20 * 86_400 + 1}

    def answer(asked: Asked) -> Reply:
        return Reply(body=[plan] if asked.path.startswith("/plans/") else [{"plan": "h100-80gb", "price": "0.28"}])

    with answering(to=answer) as server:
        account = account_at(server.url, price.offering)
        assert sync.sync_prices(account) == 0
        plan["minimum_execution_seconds"] = 20 * 86_400
        assert sync.sync_prices(account) == 1
    assert list(Price.objects.order_by("pk").values_list("minimum_s", "confirmed")) == [(60, False), (1_728_000, True)]
    assert caplog.text.count("longer than any run") == 1


def test_a_plan_that_is_listed_twice_with_two_prices_keeps_the_one_it_has(db: None) -> None:
    price = PriceFactory()
    plans = [{"id": "h100-80gb", "name": "H100", "minimum_execution_seconds": minimum} for minimum in (60, 0)]

    def answer(asked: Asked) -> Reply:
        return Reply(body=plans if asked.path.startswith("/plans/") else [{"plan": "h100-80gb", "price": "0.30"}])

    with answering(to=answer) as server:
        assert sync.sync_prices(account_at(server.url, price.offering)) == 0
    assert list(Price.objects.values_list("amount", flat=True)) == [Decimal("0.28")]


def test_a_partition_that_cannot_be_stored_keeps_no_other_from_being_seen(db: None) -> None:
    offering = OfferingFactory(provider__slug="kddi", adapter="slurm_rest", plan="gb200", gpus_max=72)
    node = {"state": ["IDLE"], "partitions": ["g\0", "\ud800", "gb200"], "gres": "gpu:4", "gres_used": "gpu:0"}
    with answering(to=lambda asked: Reply(body={"nodes": [node]})) as server:
        account = ProviderAccountFactory(
            provider=offering.provider, kind="slurm_rest", endpoint=server.url, options={"work_dir": "/jobs"},
            sealed_credentials=seal({"user": "a", "token": "b"}),
        )  # fmt: skip
        assert sync.observe_availability(account) == 1
    assert list(CapacityObservation.objects.values_list("offering", "free_gpus")) == [(offering.pk, 4)]


def test_a_paused_provider_is_not_asked_for_prices(db: None) -> None:
    price = PriceFactory()
    with answering(to=dok_with("0.30")) as server:
        account = account_at(server.url, price.offering, paused_until=timezone.now() + timedelta(seconds=30))
        assert (sync.sync_prices(account), server.asked) == (0, [])


def test_a_plan_that_its_provider_no_longer_lists_takes_no_jobs_until_it_is_listed_again(
    db: None, caplog: pytest.LogCaptureFixture
) -> None:
    price = PriceFactory(offering__plan="ended-plan")
    with answering(to=dok_with("0.28")) as pool:
        account = account_at(pool.url, price.offering)
        sync.sync_prices(account)
        since = Offering.objects.get().unlisted_since
        assert since is not None
        assert "'plans': ['ended-plan']" in caplog.text
        sync.sync_prices(account)
        assert Offering.objects.get().unlisted_since == since
        wanted = JobRequest("j", Offering.objects.get(), 1, 3600, 1000)
        assert [refusal.field for refusal in refusals(wanted, wanted.offering, on=NOW.date())] == ["offering"]
        Offering.objects.update(plan="h100-80gb")
        sync.sync_prices(account)
    assert Offering.objects.get().unlisted_since is None


def test_a_list_with_nothing_in_it_ends_no_plan(db: None) -> None:
    price = PriceFactory()
    with answering(to=lambda asked: Reply(body=[])) as pool:
        sync.sync_prices(account_at(pool.url, price.offering))
    assert Offering.objects.get().unlisted_since is None
