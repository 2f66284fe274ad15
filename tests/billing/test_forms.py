from datetime import date

import pytest
from django.utils import translation

from portal.accounts.models import Project
from portal.billing.budgets import Terms
from portal.billing.forms import BudgetForm, TermsForm
from portal.billing.models import BudgetAction


def sent(project: Project, limit: str, place: str | None = None) -> BudgetForm:
    return BudgetForm(
        {"place": place or project.code, "monthly_limit": limit}, organization=project.organization, projects=[project]
    )


@pytest.mark.parametrize(
    ("typed", "yen"),
    [
        ("300000", 300_000),
        ("300,000", 300_000),
        ("¥300,000", 300_000),
        ("３００，０００円", 300_000),
        (" 30 0000 ", 300_000),
        ("0", 0),
        ("1000000000000", 10**12),
        ("", None),
        ("   ", None),
    ],
)
def test_yen_are_read_as_people_type_them(project: Project, typed: str, yen: int | None) -> None:
    form = sent(project, typed)
    assert (form.is_valid(), form.cleaned_data["monthly_limit"], form.project) == (True, yen, project)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("-1", "Enter the amount as a whole number of yen, e.g. 300000."),
        ("1.5", "Enter the amount as a whole number of yen, e.g. 300000."),
        ("1e9", "Enter the amount as a whole number of yen, e.g. 300000."),
        ("NaN", "Enter the amount as a whole number of yen, e.g. 300000."),
        ("三十万", "Enter the amount as a whole number of yen, e.g. 300000."),
        ("<b>1</b>", "Enter the amount as a whole number of yen, e.g. 300000."),
        ("1000000000001", "Enter at most ¥1,000,000,000,000."),
        ("9" * 31, "Use at most 30 characters (now 31)."),
        ("1\0", "This contains a NUL character. Remove it."),
    ],
)
def test_anything_else_gets_a_sentence(project: Project, typed: str, sentence: str) -> None:
    with translation.override("en"):
        assert sent(project, typed).errors == {"monthly_limit": [sentence]}


def test_a_place_that_is_not_on_offer_is_refused(project: Project) -> None:
    with translation.override("en"):
        assert sent(project, "1", "p-elsewhere").errors == {
            "place": ["Choose the organization or one of its projects from the list."]
        }


def test_the_organization_itself_has_no_project(project: Project) -> None:
    form = sent(project, "1", project.organization.code)
    assert (form.is_valid(), form.project) == (True, None)


def terms_sent(project: Project, **changes: str) -> TermsForm:
    said = {
        "place": project.code, "period": "fixed", "name": "ＮＥＤＯ grant", "first_day": "2026-04-01",
        "last_day": "2027-03-31", "limit": "300,000円", "at_50": "nothing", "at_80": "ask", "at_100": "stop",
    }  # fmt: skip
    return TermsForm({**said, **changes}, organization=None, projects=[project], budget=None)


def test_the_terms_of_a_grant_are_what_was_typed(project: Project) -> None:
    form = terms_sent(project)
    assert (form.is_valid(), form.project) == (True, project)
    assert form.terms == Terms(
        300_000, BudgetAction.NOTHING, BudgetAction.ASK, BudgetAction.STOP, "ＮＥＤＯ grant", date(2026, 4, 1),
        date(2027, 3, 31),
    )  # fmt: skip


def test_name_and_days_are_of_a_fixed_period_only(project: Project) -> None:
    form = terms_sent(project, period="month")
    assert (form.is_valid(), form.terms.name, form.terms.first_day, form.terms.last_day) == (True, "", None, None)


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"name": "", "last_day": ""}, ["last_day", "name"]),
        ({"last_day": "2026-03-31"}, ["last_day"]),
        ({"first_day": "yesterday"}, ["first_day"]),
        ({"limit": ""}, ["limit"]),
        ({"limit": "-1"}, ["limit"]),
        ({"at_50": "explode"}, ["at_50"]),
        ({"period": "week"}, ["period"]),
        ({"place": "p-other"}, ["place"]),
        ({"name": "a\x07b"}, ["name"]),
        ({"name": "a\0b"}, ["name"]),
    ],
)
def test_what_is_no_budget_is_said_at_its_field(project: Project, changes: dict[str, str], errors: list[str]) -> None:
    assert sorted(terms_sent(project, **changes).errors) == errors
