import pytest
from django.utils import translation

from portal.accounts.models import Project
from portal.billing.forms import BudgetForm


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
