"""What staff enter: stored once, audited with who, never an edit of a price, never over somebody else's."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from portal.accounts.models import User
from portal.audit.models import AuditEvent
from portal.catalog import seed
from portal.catalog.editing import (
    FACTS,
    Refused,
    add_offering,
    bring_back,
    confirm_offering,
    confirm_price,
    edit_offering,
    end_offering,
    set_price,
    version_of,
    version_of_prices,
)
from portal.catalog.models import Offering, Price
from portal.catalog.offers import Wish, offers
from portal.catalog.pricing import NewPrice, price_at
from tests.factories import OfferingFactory, PriceFactory, ProviderFactory, StaffFactory

SOURCE = "mail of the provider, 2026-11-20"


@pytest.fixture
def staff(db: None) -> User:
    return StaffFactory()


def facts_of(offering: Offering, **changes: Any) -> dict[str, Any]:
    return {**{name: getattr(offering, name) for name in FACTS}, **changes}


def new_price(**changes: Any) -> NewPrice:
    values: dict[str, Any] = {
        "unit": "second", "amount": Decimal("0.30"), "per_gpu": False, "minimum_s": 60, "valid_from": timezone.now(),
        "source": SOURCE, "as_of": date(2026, 11, 20), "confirmed": False,
    }  # fmt: skip
    return NewPrice(**{**values, **changes})


def acts() -> list[tuple[str, str, str, Any]]:
    return list(AuditEvent.objects.order_by("sequence").values_list("act", "subject", "actor", "detail"))


def test_an_offering_is_added_as_the_providers_own(staff: User) -> None:
    provider = ProviderFactory(slug="kddi")
    facts = facts_of(Offering(name_ja="名", name_en="n", kind="contract", source=SOURCE, as_of=date(2026, 11, 20)))
    made = add_offering(slug="gb300", provider=provider, facts=facts, by=staff)
    assert {made.provider, made.contracting_member, made.service_member, made.host_member} == {provider}
    assert [(act, subject, actor) for act, subject, actor, _ in acts()] == [
        ("offering.added", "offering:gb300", f"user:{staff.pk}")
    ]
    with pytest.raises(Refused) as told:
        add_offering(slug="gb300", provider=provider, facts=facts, by=staff)
    assert (told.value.field, Offering.objects.count(), len(acts())) == ("slug", 1, 1)


def test_a_changed_fact_is_told_with_what_it_was(staff: User) -> None:
    offering = OfferingFactory(gpu_memory_gb=80)
    facts, seen = facts_of(offering, gpu_memory_gb=94, source=SOURCE), version_of(offering)
    assert edit_offering(offering, facts=facts, seen=seen, by=staff) is True
    changed = Offering.objects.get(pk=offering.pk)
    assert facts_of(changed) == facts
    assert acts() == [
        (
            "offering.edited",
            f"offering:{offering.slug}",
            f"user:{staff.pk}",
            {"gpu_memory_gb": [80, 94], "source": ["test", SOURCE]},
        )
    ]
    assert edit_offering(offering, facts=facts, seen=version_of(changed), by=staff) is False
    assert len(acts()) == 1


def test_what_somebody_else_changed_meanwhile_is_not_overwritten_unseen(staff: User) -> None:
    offering = OfferingFactory()
    seen = version_of(offering)
    edit_offering(offering, facts=facts_of(offering, note_ja="先"), seen=seen, by=staff)
    with pytest.raises(Refused):
        edit_offering(offering, facts=facts_of(offering, note_ja="後"), seen=seen, by=staff)
    assert Offering.objects.get().note_ja == "先"


def test_a_new_price_is_a_new_row_and_the_old_one_ends_where_it_begins(staff: User) -> None:
    old = PriceFactory()
    offering = old.offering
    wanted = new_price()
    made = set_price(offering, price=wanted, seen=version_of_prices(offering), by=staff)
    old.refresh_from_db()
    assert (old.amount, old.valid_to, made.amount, made.valid_to) == (
        Decimal("0.28"), wanted.valid_from, Decimal("0.30"), None
    )  # fmt: skip
    assert [price_at(offering, at) for at in (wanted.valid_from - timedelta(seconds=1), wanted.valid_from)] == [
        old,
        made,
    ]
    ((act, subject, actor, detail),) = acts()
    assert (act, subject, actor, detail["price"], detail["amount"], detail["source"]) == (
        "price.entered", f"offering:{offering.slug}", f"user:{staff.pk}", made.pk, "0.30", SOURCE
    )  # fmt: skip


def test_a_price_by_the_minute_ends_the_one_by_the_second_and_not_the_one_by_the_month(staff: User) -> None:
    by_second = PriceFactory()
    offering = by_second.offering
    by_month = PriceFactory(offering=offering, unit="month", amount=385_000)
    made = set_price(offering, price=new_price(unit="minute"), seen=version_of_prices(offering), by=staff)
    valid = Price.objects.filter(offering=offering, valid_to=None).order_by("pk")
    assert list(valid) == [by_month, made]
    (shown,) = offers(Wish(), [offering])
    assert (shown.price, price_at(offering, timezone.now())) == (made, made)


def test_the_same_form_sent_twice_is_one_price(staff: User) -> None:
    offering = PriceFactory().offering
    seen = version_of_prices(offering)
    set_price(offering, price=new_price(), seen=seen, by=staff)
    with pytest.raises(Refused):
        set_price(offering, price=new_price(valid_from=timezone.now()), seen=seen, by=staff)
    assert (offering.prices.count(), len(acts())) == (2, 1)


def test_a_price_does_not_begin_before_one_that_is_entered(staff: User) -> None:
    offering = PriceFactory(valid_from=timezone.now() + timedelta(days=7)).offering
    with pytest.raises(Refused) as told:
        set_price(offering, price=new_price(), seen=version_of_prices(offering), by=staff)
    assert (told.value.field, offering.prices.count()) == ("valid_from", 1)


def test_the_offering_and_each_price_are_confirmed_by_one_act(staff: User) -> None:
    price = PriceFactory(offering=OfferingFactory(confirmed=False, as_of=date(2026, 10, 1)), confirmed=False)
    offering, today = price.offering, timezone.localdate()
    assert (confirm_offering(offering, by=staff), confirm_price(price, by=staff)) == (True, True)
    offering.refresh_from_db()
    price.refresh_from_db()
    assert [(row.confirmed, row.as_of, row.source) for row in (offering, price)] == [(True, today, "test")] * 2
    assert (price.amount, price.valid_to) == (Decimal("0.28"), None)
    assert (confirm_offering(offering, by=staff), confirm_price(price, by=staff)) == (False, False)
    assert [(act, actor) for act, _, actor, _ in acts()] == [
        (act, f"user:{staff.pk}") for act in ("offering.confirmed", "price.confirmed")
    ]


def test_an_offering_ends_and_comes_back(staff: User) -> None:
    offering = PriceFactory().offering
    assert [end_offering(offering, by=staff), end_offering(offering, by=staff)] == [True, False]
    assert offers(Wish()) == []
    assert [bring_back(offering, by=staff), bring_back(offering, by=staff)] == [True, False]
    assert [row.offering for row in offers(Wish())] == [offering]
    assert [act for act, *_ in acts()] == ["offering.ended", "offering.brought_back"]


def test_what_staff_entered_stays_when_the_catalog_is_loaded_again(staff: User) -> None:
    seed.load(demo=False)
    offering = Offering.objects.get(slug="soroban-cluster")
    edit_offering(offering, facts=facts_of(offering, gpu_model="H200"), seen=version_of(offering), by=staff)
    made = set_price(
        offering, price=new_price(unit="hour", amount=Decimal(1100)), seen=version_of_prices(offering), by=staff
    )
    other = Offering.objects.get(slug="dok-v100")
    end_offering(other, by=staff)
    before = list(Price.objects.order_by("pk").values())
    seed.load(demo=False)
    assert Offering.objects.get(slug="soroban-cluster").gpu_model == "H200"
    assert (price_at(offering, timezone.now()), Offering.objects.get(slug="dok-v100").active) == (made, False)
    assert list(Price.objects.order_by("pk").values()) == before


def test_versions_change_with_what_they_stand_for(db: None) -> None:
    offering = OfferingFactory()
    first = (version_of(offering), version_of_prices(offering))
    PriceFactory(offering=offering, valid_from=datetime(2026, 1, 1, tzinfo=UTC))
    offering.gpus_max = 5
    second = (version_of(offering), version_of_prices(offering))
    assert [one == other for one, other in zip(first, second, strict=True)] == [False, False]
