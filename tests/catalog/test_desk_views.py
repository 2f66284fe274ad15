"""The catalog's room of the desk through Django's test client: what staff see and do, and what everybody sees then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from portal.audit.models import AuditEvent
from portal.catalog.desk_forms import OfferingForm
from portal.catalog.models import Offering, Price
from tests.factories import OfferingFactory, PriceFactory, ProviderFactory, StaffFactory

LIST = "/desk/catalog/"


@pytest.fixture
def desk(db: None, desk_of: Callable[..., Client]) -> Client:
    return desk_of(StaffFactory())


@pytest.fixture
def offering(db: None) -> Offering:
    return PriceFactory(offering=OfferingFactory(slug="dok-h100", confirmed=False), confirmed=False).offering


def html(client: Client, url: str) -> str:
    return client.get(url).content.decode()


def fields(form: Any, **changes: object) -> dict[str, object]:
    values = {name: form[name].value() for name in form.fields}
    return {**{name: value for name, value in values.items() if value is not None and value is not False}, **changes}


def price_fields(client: Client, offering: Offering, **changes: object) -> dict[str, object]:
    form = client.get(f"{LIST}{offering.slug}/price/").context["form"]
    given = {"amount": "0.35", "unit": "second", "source": "メール", "as_of": "2026-11-20", "valid_from": ""}
    return fields(form, **{**given, **changes})


def test_the_list_tells_what_is_to_be_confirmed(desk: Client, offering: Offering) -> None:
    page = html(desk, LIST)
    assert [word in page for word in (offering.name, "要確認", "¥0.28", "出典: test")] == [True] * 4


def test_a_price_goes_from_the_form_to_everybodys_catalog_as_to_be_confirmed(desk: Client, offering: Offering) -> None:
    answer = desk.post(f"{LIST}{offering.slug}/price/", price_fields(desk, offering))
    assert (answer.status_code, answer["Location"]) == (302, f"{LIST}{offering.slug}/")
    everybody = Client()
    page = html(everybody, "/catalog/")
    assert [word in page for word in ("¥1,260", "要確認", "2026-11-20時点・出典: メール")] == [True] * 3
    made = Price.objects.get(valid_to=None)
    desk.post(f"{LIST}{offering.slug}/prices/{made.pk}/confirm/")
    cache.clear()
    page = html(everybody, "/catalog/")
    assert ("¥1,260" in page, "要確認</span>" in page) == (True, False)
    told = AuditEvent.objects.order_by("sequence").values_list("act", "actor")
    staff = f"user:{answer.wsgi_request.user.pk}"
    assert list(told) == [("price.entered", staff), ("price.confirmed", staff)]


def test_a_refused_price_keeps_what_was_typed(desk: Client, offering: Offering) -> None:
    answer = desk.post(f"{LIST}{offering.slug}/price/", price_fields(desk, offering, amount="0", source="あ" * 201))
    page = answer.content.decode()
    assert (answer.status_code, "あ" * 201 in page, Price.objects.count()) == (422, True, 1)
    assert ["料金は0円より大きい額" in page, "出典は200文字まで" in page] == [True, True]


def test_a_price_that_met_another_one_is_shown_again_and_can_be_sent_again(desk: Client, offering: Offering) -> None:
    url = f"{LIST}{offering.slug}/price/"
    mine = price_fields(desk, offering)
    desk.post(url, price_fields(desk, offering, amount="0.31"))
    answer = desk.post(url, mine)
    assert (answer.status_code, "別の料金が登録されました" in answer.content.decode()) == (422, True)
    form = answer.context["form"]
    assert desk.post(url, {**mine, "seen": form["seen"].value()}).status_code == 302
    assert [str(price.amount.normalize()) for price in Price.objects.order_by("pk")] == ["0.28", "0.31", "0.35"]


def test_facts_are_changed_and_confirmed(desk: Client, offering: Offering) -> None:
    url = f"{LIST}{offering.slug}/"
    given = fields(desk.get(url).context["form"], gpu_memory_gb="94", source="資料", site="")
    assert desk.post(url, given).status_code == 302
    row = Offering.objects.get()
    assert (row.gpu_memory_gb, row.source, row.confirmed) == (94, "資料", False)
    assert desk.post(f"{url}confirm/").status_code == 302
    row.refresh_from_db()
    assert (row.confirmed, row.as_of) == (True, timezone.localdate())


def test_an_offering_that_somebody_else_changed_is_saved_when_it_is_sent_again(
    desk: Client, offering: Offering
) -> None:
    url = f"{LIST}{offering.slug}/"
    given = fields(desk.get(url).context["form"], note_en="mine")
    Offering.objects.update(note_en="theirs")
    answer = desk.post(url, given)
    assert (answer.status_code, answer.context["form"]["note_en"].value()) == (422, "mine")
    desk.post(url, {**given, "seen": answer.context["form"]["seen"].value()})
    assert Offering.objects.get().note_en == "mine"


def test_a_new_offering_is_in_the_catalog_without_a_price(desk: Client) -> None:
    provider = ProviderFactory(slug="kddi")
    given = fields(
        OfferingForm(None), slug="gb300", provider=provider.pk, name_ja="新しい提供", name_en="New", kind="contract",
        architecture="arm64", source="資料", as_of="2026-11-20",
    )  # fmt: skip
    answer = desk.post(f"{LIST}new/", given)
    assert (answer.status_code, answer["Location"]) == (302, f"{LIST}gb300/")
    page = html(Client(), "/catalog/")
    assert [word in page for word in ("新しい提供", "要問合せ", "要確認")] == [True] * 3
    again = desk.post(f"{LIST}new/", given)
    assert (again.status_code, "この短い名前は使われています" in again.content.decode()) == (422, True)


def test_an_offering_leaves_the_catalog_and_comes_back(desk: Client, offering: Offering) -> None:
    url = f"{LIST}{offering.slug}/"
    seen = []
    for act in ("end/", "back/"):
        desk.post(f"{url}{act}")
        cache.clear()
        seen.append(offering.name in html(Client(), "/catalog/"))
    assert seen == [False, True]


def test_a_price_of_another_offering_is_not_found(desk: Client, offering: Offering) -> None:
    other = PriceFactory(confirmed=False)
    assert desk.post(f"{LIST}{offering.slug}/prices/{other.pk}/confirm/").status_code == 404
    assert Price.objects.get(pk=other.pk).confirmed is False


def test_a_planned_price_says_so(desk: Client, offering: Offering) -> None:
    later = (timezone.localdate() + timedelta(days=30)).isoformat()
    desk.post(f"{LIST}{offering.slug}/price/", price_fields(desk, offering, valid_from=later))
    assert "予定" in html(desk, f"{LIST}{offering.slug}/")
    assert "¥1,008" in html(Client(), "/catalog/")
