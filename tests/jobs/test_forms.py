"""What the job form accepts as well formed, without a page around it."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from portal.jobs.forms import (
    _IMAGE,
    JobForm,
    Offer,
    _variables,
    choice_of,
    command_for,
    offers_at,
    time_values,
)
from tests.factories import OfferingFactory, OrganizationFactory, PriceFactory, ProviderAccountFactory, ProviderFactory


@pytest.mark.parametrize(
    "image",
    [
        "python:3.11-slim",
        "ubuntu",
        "library/ubuntu:24.04",
        "registry.example.jp/team/trainer:2026.11",
        "localhost:5000/a/b_c/d--e:v1",
        "python@sha256:" + "a" * 64,
        "registry.example.jp:443/x/y:z@sha256:" + "0" * 64,
    ],
)
def test_image_names_that_registries_know(image):
    assert _IMAGE.fullmatch(image)


@pytest.mark.parametrize(
    "image",
    [
        "python:3.11; id",
        "$(id)", "`id`", "a b", "a|b", "a&b", "a>b", "a\nb", "-v", "--privileged", "../x", "a//b", "/a",
        "a/", "a:", "a@sha256:zz", "A", "a'b", 'a"b', "a\\b", "http://a/b", "a:b:c", "ａ", "",
    ],
)  # fmt: skip
def test_image_names_that_are_refused(image):
    assert not _IMAGE.fullmatch(image)


@given(st.text(max_size=400))
def test_no_image_name_holds_a_sign_that_a_shell_would_see(text):
    if _IMAGE.fullmatch(text):
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@")


def test_variables_keep_everything_after_the_first_equals_sign():
    assert _variables("A=1\n\n  B = x=y \nC=") == {"A": "1", "B": " x=y ", "C": ""}


@pytest.mark.parametrize(
    "text", ["A", "=x", "1A=x", "A-B=x", "Ａ=x", "portal_x=1", "SAKURA_X=1", "SLURM_JOB_ID=1", "A=1\nA=1"]
)
def test_variables_that_are_refused(text):
    with pytest.raises(ValidationError):
        _variables(text)


@given(st.text(max_size=300))
def test_no_text_breaks_the_variables(text):
    try:
        assert all(name.isidentifier() and name.isascii() for name in _variables(text))
    except ValidationError as problem:
        assert len(problem.messages) == 1


@pytest.mark.parametrize(
    ("typed", "number"), [("500", 500), ("1,000", 1000), ("¥５００", 500), ("500円", 500), ("", None), (None, None)]
)
def test_numbers_are_read_as_people_type_them(typed, number):
    assert JobForm.base_fields["cost_cap"].to_python(typed) == number


@pytest.mark.parametrize("typed", ["0", "-1", "1.5", "1e3", "٣", "9" * 13, "1 000", "x", "\0"])
def test_numbers_that_are_refused(typed):
    with pytest.raises(ValidationError):
        JobForm.base_fields["cost_cap"].to_python(typed)


def test_commands_of_scripts_show_lines_at_once():
    assert [command_for("main.py"), command_for("run")] == ["python3 -u main.py", "sh ./run"]


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
