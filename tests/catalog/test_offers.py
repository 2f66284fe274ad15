from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from portal.catalog import comparison
from portal.catalog.models import CapacityObservation, Offering, ProviderAccount
from portal.catalog.offers import Wish, offers
from portal.catalog.provider_accounts import note_failure
from tests.factories import OfferingFactory, PriceFactory, ProviderAccountFactory, ProviderFactory

NOW = datetime(2026, 11, 24, 4, 7, tzinfo=UTC)


@pytest.fixture
def two(db: None) -> tuple[Offering, Offering]:
    """A plan of one GPU by the second, and a cluster by the GPU-minute."""
    dok = PriceFactory(amount=Decimal("0.28")).offering
    highreso = ProviderFactory(slug="highreso")
    cluster = OfferingFactory(
        provider=highreso, site=None, adapter="slurm_ssh", plan="gpu", gpus_max=8, name_ja="計算クラスター"
    )
    PriceFactory(offering=cluster, unit="minute", amount=Decimal(20), per_gpu=True, minimum_s=0, confirmed=False)
    ProviderAccountFactory(provider=dok.provider)
    return dok, cluster


def _seen(offering: Offering, state: str, free: int | None, minutes_ago: int) -> None:
    CapacityObservation.objects.create(
        offering=offering, state=state, free_gpus=free, observed_at=NOW - timedelta(minutes=minutes_ago), source="test"
    )


def test_offers_are_priced_per_gpu_hour_and_for_the_wish(two: tuple[Offering, Offering]) -> None:
    dok, cluster = offers(Wish(hours=24), at=NOW)
    assert (dok.per_gpu_hour, dok.total, dok.is_cheapest) == (Decimal("1008.00"), Decimal("24192.00"), True)
    assert (cluster.per_gpu_hour, cluster.total, cluster.is_cheapest) == (Decimal(1200), Decimal(28800), False)


def test_offers_without_tax(two: tuple[Offering, Offering]) -> None:
    dok, cluster = offers(Wish(hours=1, with_tax=False), at=NOW)
    assert (round(dok.per_gpu_hour or 0, 2), round(cluster.per_gpu_hour or 0, 2)) == (
        Decimal("916.36"),
        Decimal("1090.91"),
    )


def test_a_job_can_be_created_only_with_a_price_and_an_account(two: tuple[Offering, Offering]) -> None:
    dok, cluster = offers(Wish(), at=NOW)
    assert (dok.can_submit, cluster.can_submit) == (True, False)


def test_days_and_months_are_sold_whole_and_the_cheapest_way_counts(db: None) -> None:
    vm = OfferingFactory(kind="vm")
    for unit, amount in (("hour", 990), ("day", 23_100), ("month", 385_000)):
        PriceFactory(offering=vm, unit=unit, amount=Decimal(amount), minimum_s=0)
    totals = [offers(Wish(hours=hours), at=NOW)[0].total for hours in (1, 24, 25, 720)]
    assert totals == [Decimal(990), Decimal(23_100), Decimal(24_750), Decimal(385_000)]


def test_availability_is_the_newest_observation_and_unknown_when_stale(two: tuple[Offering, Offering]) -> None:
    dok, cluster = two
    _seen(dok, "full", 0, minutes_ago=3)
    _seen(dok, "available", 16, minutes_ago=1)
    _seen(cluster, "available", 8, minutes_ago=6)
    rows = offers(Wish(), at=NOW)
    assert [row.state for row in rows] == ["available", "unknown"]
    assert [comparison.availability_words(row) for row in rows] == [("空きあり", "空き16枚"), ("不明", "")]


def test_a_provider_that_does_not_answer_is_not_said_to_tell_nothing(two: tuple[Offering, Offering]) -> None:
    dok, _cluster = two
    _seen(dok, "available", 16, minutes_ago=1)
    for _ in range(3):
        note_failure(ProviderAccount.objects.get().pk, "no connection")
    assert comparison.availability_words(offers(Wish(), [dok], at=NOW)[0]) == (
        "不明",
        "提供会社から現在応答がありません。順番待ちでジョブを作成できます",
    )


def test_an_ended_price_is_not_shown(two: tuple[Offering, Offering]) -> None:
    dok, _cluster = two
    dok.prices.update(valid_to=NOW)
    assert offers(Wish(), [dok], at=NOW)[0].price is None


def test_comparison_marks_the_best_of_each_line_and_hides_equal_lines(two: tuple[Offering, Offering]) -> None:
    rows = offers(Wish(hours=1), at=NOW)
    groups = comparison.compare(rows, Wish(hours=1), only_differences=True)
    lines = {line.label: [(cell.text, cell.best) for cell in line.cells] for group in groups for line in group.lines}
    assert lines["GPU1枚1時間"] == [("¥1,008", "最安"), ("¥1,200", "")]
    assert "CPU" not in lines


def test_seed_twice_is_seed_once(db: None) -> None:
    from portal.catalog import seed
    from portal.catalog.models import Price

    seed.load(demo=True)
    before = (Offering.objects.count(), Price.objects.count())
    seed.load(demo=True)
    assert (Offering.objects.count(), Price.objects.count()) == before
    assert Offering.objects.get(slug="kddi-gb200").prices.count() == 0  # nobody has published one
    assert not Price.objects.filter(confirmed=True).exists()


def test_seed_for_production_has_no_made_up_offering(db: None) -> None:
    from portal.catalog import seed

    seed.load(demo=False)
    assert not Offering.objects.filter(demo_only=True).exists()
