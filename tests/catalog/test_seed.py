from __future__ import annotations

from decimal import Decimal

from portal.catalog.models import Offering, Price, Provider, Site, StoragePrice
from portal.catalog.seed import DEMO_OFFERINGS, OFFERINGS, PROVIDERS, SITES, load
from portal.providers.registry import KINDS


def counts() -> list[int]:
    return [model.objects.count() for model in (Provider, Site, Offering, Price, StoragePrice)]


def test_loading_again_adds_nothing(db: None) -> None:
    load(demo=True)
    first = counts()
    load(demo=True)
    prices = sum(len(offering.prices) for offering in (*OFFERINGS, *DEMO_OFFERINGS))
    rows = [len(PROVIDERS), len(SITES), len(OFFERINGS) + len(DEMO_OFFERINGS), prices, 1]
    assert (first, counts()) == (rows, first)


def test_production_gets_nothing_made_up(db: None) -> None:
    load(demo=False)
    assert set(Offering.objects.values_list("slug", flat=True)) == {offering.slug for offering in OFFERINGS}
    assert not Offering.objects.filter(demo_only=True).exists()
    load(demo=True)
    made_up = Offering.objects.filter(demo_only=True).values_list("slug", flat=True)
    assert set(made_up) == {offering.slug for offering in DEMO_OFFERINGS}


def test_what_a_provider_or_our_staff_changed_stays(db: None) -> None:
    load(demo=False)
    offering = Offering.objects.get(slug="dok-v100")
    Offering.objects.filter(pk=offering.pk).update(active=False)
    offering.prices.update(amount=Decimal("9"))
    before = Price.objects.count()
    load(demo=False)
    assert (Offering.objects.get(slug="dok-v100").active, Price.objects.count()) == (False, before)
    assert set(offering.prices.values_list("amount", flat=True)) == {Decimal("9")}


def test_every_fact_has_its_source_and_date_and_can_be_run_by_an_adapter_of_ours(db: None) -> None:
    load(demo=True)
    wanting = [
        offering.slug
        for offering in Offering.objects.all()
        if not (offering.source and offering.as_of and offering.name_ja and offering.name_en)
        or (offering.adapter and (offering.adapter not in KINDS or not offering.plan))
        or not (offering.gpus_min <= offering.gpus_max and offering.allows_gpus(offering.gpus_max))
    ]
    assert (wanting, list(Price.objects.filter(source=""))) == ([], [])
