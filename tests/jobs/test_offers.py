"""What jobs can be sent to, and what of it a half-filled form chooses."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone, translation

from portal.catalog.models import CapacityObservation
from portal.datasets.copies import Held
from portal.jobs.attaching import Places
from portal.jobs.offers import Offer, choice_of, offers_at, plans_for, time_values
from tests.factories import OfferingFactory, OrganizationFactory, PriceFactory, ProviderAccountFactory, ProviderFactory


@pytest.mark.parametrize(
    ("seconds", "shown"), [(600, (10, "minutes")), (7200, (2, "hours")), (86400, (1, "days")), (5400, (90, "minutes"))]
)
def test_times_are_shown_in_the_largest_whole_unit(seconds, shown):
    values = time_values(seconds)
    assert (values["time_amount"], values["time_unit"]) == shown


def test_counts_of_gpus_of_a_plan():
    def counts(**fields):
        return Offer(OfferingFactory.build(provider=None, site=None, **fields), None, None).counts

    assert counts() == [1]
    assert counts(gpus_min=2, gpus_max=8, gpus_step=2) == [2, 4, 6, 8]
    assert counts(gpus_max=100) == [1, 2, 4, 8, 16, 32, 64, 100]


def test_offers_are_those_that_somebody_runs_cheapest_first(db, settings):
    organization, now = OrganizationFactory(), timezone.now()
    cheap, dear = OfferingFactory(slug="cheap", demo_only=True), OfferingFactory(slug="dear")
    PriceFactory(offering=cheap, amount="0.1")
    PriceFactory(offering=dear)
    for changes in ({"on_request": True}, {"kind": "vm"}, {"adapter": ""}, {"active": False}, {"adapter": "slurm_ssh"}):
        PriceFactory(offering=OfferingFactory(**changes))
    OfferingFactory()  # without a price
    PriceFactory(offering=OfferingFactory(provider=ProviderFactory(slug="kddi")))  # nobody runs it
    ProviderAccountFactory(provider=dear.provider)
    foreign = ProviderAccountFactory(provider=dear.provider, kind="slurm_ssh", organization=OrganizationFactory())
    assert [o.slug for o in offers_at(now, organization=organization)] == ["cheap", "dear"]
    assert len(offers_at(now, organization=foreign.organization)) == 3
    settings.PRODUCTION = True
    assert [o.slug for o in offers_at(now, organization=organization)] == ["dear"]


def test_a_choice_is_read_from_a_half_filled_form(db):
    price = PriceFactory(offering=OfferingFactory(slug="plan", gpus_max=4))
    offers = [Offer(price.offering, price, None)]
    values = {"offering": "plan", "gpus": "9", "time_amount": "２", "time_unit": "hours", "cost_cap": "x"}
    choice = choice_of(values, offers)
    assert choice is not None
    assert (choice.offer.slug, choice.gpus, choice.time_limit_s, choice.cost_cap) == ("plan", 1, 7200, None)
    for missing in ("offering", "time_amount", "time_unit"):
        assert choice_of({**values, missing: ""}, offers) is None


def test_what_was_seen_free_five_minutes_ago_is_not_known_any_more(db):
    organization, now = OrganizationFactory(), timezone.now()
    offering = PriceFactory().offering
    ProviderAccountFactory(provider=offering.provider)
    seen = []
    for minutes in (9, 6, 4):
        row = CapacityObservation.objects.create(
            offering=offering, state="available", free_gpus=minutes, observed_at=now - timedelta(minutes=minutes)
        )
        (offer,) = offers_at(now, organization=organization)
        seen.append(offer.seen)
    assert seen == [None, None, row]


def test_each_plan_says_where_the_data_is_and_at_one_price_the_nearest_comes_first(db):
    offers = []
    for slug, amount in (("cheap", "0.1"), ("far", "0.3"), ("slow", "0.3"), ("near", "0.3"), ("part", "0.4")):
        offering = OfferingFactory(slug=slug, provider=ProviderFactory(slug=slug))
        offers.append(Offer(offering, PriceFactory(offering=offering, amount=Decimal(amount)), None))
    held = [
        Held("primary", "Ishikari", "elsewhere", False, 3, 9),
        Held("n", "Near", "near", False, 3, 9),
        Held("s", "Slow", "slow", True, 3, 9),
        Held("p", "Part", "part", False, 2, 6),
    ]

    def said(places):
        with translation.override("en"):
            return [(plan.offer.slug, plan.data, plan.is_near) for plan in plans_for(offers, places)]

    assert said(Places(held, 3)) == [
        ("cheap", "Data at Ishikari", False),
        ("near", "Data here", True),
        ("far", "Data at Ishikari", False),
        ("slow", "Data at Ishikari", False),
        ("part", "2 of 3 files here", False),
    ]
    assert said(None) == said(Places([], 3)) == [(offer.slug, "", False) for offer in offers]
