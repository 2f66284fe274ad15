"""What staff type: each refusal is a sentence at its field."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.http import QueryDict
from django.utils import timezone

from portal.catalog.desk_forms import NewOfferingForm, OfferingForm, PriceForm
from portal.catalog.models import Offering
from tests.factories import OfferingFactory, ProviderFactory, SiteFactory

GOOD_PRICE = {
    "amount": "0.28", "unit": "second", "per_gpu": "gpu", "tax": "in", "minimum_s": "60", "valid_from": "",
    "source": "mail", "as_of": "2026-11-20", "confirmed": "", "seen": "",
}  # fmt: skip


def sent(values: dict[str, Any]) -> QueryDict:
    data = QueryDict(mutable=True)
    data.update({name: str(value) for name, value in values.items() if value is not None})
    return data


def day(shift: int) -> str:
    return (timezone.localdate() + timedelta(days=shift)).isoformat()


@pytest.fixture
def offering(db: None) -> Offering:
    return OfferingFactory(kind="job", gpus_min=4, gpus_max=8, gpus_step=4)


def facts(offering: Offering, **changes: object) -> QueryDict:
    form = OfferingForm(None, offering=offering)
    values = {name: form[name].value() for name in form.fields}
    values = {name: value for name, value in values.items() if value is not None and value is not False}
    return sent({**values, "site": offering.site_id, **changes})


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("amount", "", "料金を入力してください。"),
        ("amount", "0", "料金は0円より大きい額を入力してください。"),
        ("amount", "-1", "料金は0円より大きい額を入力してください。"),
        ("amount", "abc", "円の額を「0.28」のように入力してください。"),
        ("amount", "NaN", "円の額を「0.28」のように入力してください。"),
        ("amount", "Infinity", "円の額を「0.28」のように入力してください。"),
        ("amount", "0.1234567", "料金は小数点以下6桁までです。"),
        ("amount", "100000000", "料金は1億円未満の額を入力してください。"),
        ("minimum_s", "", "数字を入力してください。"),
        ("minimum_s", "-1", "0以上の値を入力してください。"),
        ("minimum_s", "86401", "86400以下の値を入力してください。"),
        ("source", "", "情報の出典を入力してください。"),
        ("source", "  ", "情報の出典を入力してください。"),
        ("source", "x" * 201, "出典は200文字までです。短くしてください。"),
        ("as_of", "", "情報を確認した日を入力してください。"),
        ("as_of", "20th", "日付を入力してください。"),
    ],
)
def test_a_price_that_is_not_well_formed(field: str, value: str, sentence: str, offering: Offering) -> None:
    form = PriceForm(sent({**GOOD_PRICE, field: value}), offering=offering)
    assert (form.is_valid(), dict(form.errors)) == (False, {field: [sentence]})
    assert form[field].value() == value  # nothing typed is lost


@pytest.mark.parametrize(("field", "shift"), [("as_of", 1), ("valid_from", -1), ("valid_from", 3651)])
def test_days_that_a_price_cannot_have(field: str, shift: int, offering: Offering) -> None:
    form = PriceForm(sent({**GOOD_PRICE, field: day(shift)}), offering=offering)
    assert (form.is_valid(), list(form.errors)) == (False, [field])


def test_a_price_from_today_begins_now_and_one_from_tomorrow_at_midnight_in_japan(offering: Offering) -> None:
    starts = []
    for shift in (0, 1):
        form = PriceForm(
            sent({**GOOD_PRICE, "valid_from": day(shift), "per_gpu": "plan", "tax": "ex"}), offering=offering
        )
        assert form.is_valid(), form.errors
        starts.append(form.price())
    now, tomorrow = starts
    assert (timezone.now() - now.valid_from).total_seconds() < 60
    assert timezone.localtime(tomorrow.valid_from).strftime("%Y-%m-%d %H:%M") == f"{day(1)} 00:00"
    assert (tomorrow.per_gpu, tomorrow.tax_included, str(tomorrow.amount), tomorrow.confirmed) == (
        False,
        False,
        "0.28",
        False,
    )


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, {}),
        ({"gpus_min": 9}, {"gpus_max": ["GPUの最少数より小さい値です。"]}),
        ({"gpus_step": 3}, {"gpus_step": ["最少数からこの刻みで増やしても、最多数になりません。"]}),
        ({"gpus_min": 0}, {"gpus_min": ["1以上の値を入力してください。"]}),
        ({"plan": ""}, {"plan": ["ジョブを受け付けるには、提供会社のプラン名が必要です。"]}),
        ({"name_ja": ""}, {"name_ja": ["名称を入力してください。"]}),
        ({"name_en": "a\u202eb"}, {"name_en": ["改行や制御文字を含めずに、1行で入力してください。"]}),
        ({"source": ""}, {"source": ["情報の出典を入力してください。"]}),
        ({"gpus_max": "8.5"}, {"gpus_max": ["数字を入力してください。"]}),
    ],
)
def test_facts(changes: dict[str, object], wrong: dict[str, list[str]], offering: Offering) -> None:
    form = OfferingForm(facts(offering, **changes), offering=offering)
    form.is_valid()
    assert dict(form.errors) == wrong


def test_the_facts_of_a_form_that_nobody_touched_are_those_of_the_row(offering: Offering) -> None:
    form = OfferingForm(facts(offering), offering=offering)
    assert form.is_valid(), form.errors
    assert form.facts() == {name: getattr(offering, name) for name in form.facts()}


@pytest.mark.parametrize("slug", ["", "Gross", "with_line", "日本", "new", "x" * 51])
def test_a_short_name_that_is_none(slug: str, offering: Offering) -> None:
    data = facts(offering, slug=slug, provider=offering.provider_id)
    assert list(NewOfferingForm(data).errors) == ["slug"]


def test_a_place_belongs_to_its_provider(offering: Offering) -> None:
    elsewhere = SiteFactory(slug="sakai", provider=ProviderFactory(slug="kddi"))
    data = facts(offering, slug="a-1", provider=offering.provider_id, site=elsewhere.pk)
    assert list(NewOfferingForm(data).errors) == ["site"]
    assert list(OfferingForm(facts(offering, site=elsewhere.pk), offering=offering).errors) == ["site"]
