import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.billing.alerts import note_reached
from portal.billing.budgets import Terms, create, set_limit
from portal.billing.holds import hold
from portal.billing.models import Budget, BudgetAction, BudgetPeriod, SpendRequest
from tests.factories import BudgetFactory, MembershipFactory, PriceFactory, ProjectFactory, SpendRequestFactory
from tests.factories.billing import give_credit, jst, metered

SignIn = Callable[..., Client]
TERMS = {"limit": "300000", "at_50": "nothing", "at_80": "tell", "at_100": "stop"}
DAYS = {"name": "NEDO grant", "first_day": "2026-04-01", "last_day": "2027-01-31"}


@pytest.fixture(autouse=True)
def clock() -> Any:
    """Noon within a month: "a moment ago" is always today and this month."""
    with time_machine.travel(jst(2026, 11, 24, 12)):
        yield


def text_of(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_a_budget_of_a_grant_is_set_changed_and_taken_away(project: Project, owner: User, client_of: SignIn) -> None:
    client = client_of(owner, "en")
    response = client.post("/usage/budgets/new/", {"place": project.code, "period": "fixed", **DAYS, **TERMS})
    budget = Budget.objects.get()
    assert (response.status_code, response["Location"]) == (302, "/usage/budgets/")
    assert (budget.project, budget.period, budget.name, budget.last_day, budget.limit, budget.at_100) == (
        project, "fixed", "NEDO grant", date(2027, 1, 31), 300_000, "stop",
    )  # fmt: skip
    client.post(f"/usage/budgets/{budget.pk}/", {**DAYS, **TERMS, "limit": "250000"})
    assert Budget.objects.get().limit == 250_000
    page = text_of(client.get("/usage/budgets/"))
    assert "NEDO grant Wed 1 Apr – Sun 31 Jan 2027" in page
    assert "NEDO grant: budget changed, ¥300,000 → ¥250,000" in page
    client.post(f"/usage/budgets/{budget.pk}/remove/")
    page = text_of(client.get("/usage/budgets/"))
    assert (Budget.objects.count(), "NEDO grant: budget of ¥250,000 taken away" in page) == (0, True)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_what_was_done_is_said_without_brackets_in_brackets(
    project: Project, owner: User, client_of: SignIn, language: str
) -> None:
    client = client_of(owner, language)
    client.post("/usage/budgets/new/", {"place": project.code, "period": "year", **TERMS})
    budget = Budget.objects.get()
    client.post(f"/usage/budgets/{budget.pk}/", {**TERMS, "limit": "250000"})
    give_credit(project, 300_000)
    hold(project.organization, project=project, job_code="J-1", amount=220_000, by="user:1")
    note_reached()
    said = [event.sentence for event in client.get("/usage/budgets/").context["page"].events]
    client.post(f"/usage/budgets/{budget.pk}/remove/")
    assert (
        said
        == {
            "en": [
                "Each fiscal year (April to March): 80% of the budget reached (¥220,000 of ¥250,000) – Send a mail",
                "Each fiscal year (April to March): budget changed, ¥300,000 → ¥250,000",
                "Each fiscal year (April to March): budget set to ¥300,000",
            ],
            "ja": [
                "毎年度（4月〜3月）：予算の80%に到達（¥250,000のうち¥220,000）– メールで知らせる",
                "毎年度（4月〜3月）：予算を変更、¥300,000 → ¥250,000",
                "毎年度（4月〜3月）：予算を¥300,000に設定",
            ],
        }[language]
    )


def test_a_second_one_of_the_same_kind_and_one_below_what_is_held_are_refused(
    project: Project, owner: User, client_of: SignIn
) -> None:
    give_credit(project, 1000)
    hold(project.organization, project=project, job_code="J-1", amount=500, by="user:1")
    client = client_of(owner, "en")
    new = {"place": project.code, "period": "year", **TERMS}
    low = client.post("/usage/budgets/new/", {**new, "limit": "499"})
    assert (low.status_code, list(low.context["form"].errors), Budget.objects.count()) == (422, ["limit"], 0)
    client.post("/usage/budgets/new/", new)
    twice = client.post("/usage/budgets/new/", new)
    assert (twice.status_code, list(twice.context["form"].errors), Budget.objects.count()) == (422, ["period"], 1)


def test_the_list_says_where_each_stands_and_where_it_ends(project: Project, owner: User, client_of: SignIn) -> None:
    """700 yen a week ago in each of four weeks; the year goes on until the end of March."""
    give_credit(project, 100_000)
    price = PriceFactory(amount="1", minimum_s=0)
    for week in range(1, 5):
        at = timezone.now() - timedelta(days=7 * week)
        metered(project, owner, price, job_code=f"J-{week}", started_at=at, seconds=700, held=700)
    hold(project.organization, project=project, job_code="J-5", amount=1300, by="user:1")
    for period, limit in ((BudgetPeriod.MONTH, 4000), (BudgetPeriod.FISCAL_YEAR, 5000)):
        terms = Terms(limit, at_80=BudgetAction.ASK)
        create(project.organization, project=project, period=period, terms=terms, by=owner)
    note_reached()
    rows = client_of(owner, "en").get("/usage/budgets/").context["page"].rows
    assert [(row.standing.posted, row.standing.held, int(row.percent), row.tone) for row in rows] == [
        (2100, 1300, 85, "warn"), (2800, 1300, 82, "warn"),
    ]  # fmt: skip
    assert [(row.outlook.expected, row.outlook.runs_out_on) for row in rows] == [
        (2100, None), (2800 + 18 * 700, date(2026, 12, 22)),
    ]  # fmt: skip
    assert [row.steps for row in rows] == [
        [(50, BudgetAction.NOTHING, True), (80, BudgetAction.ASK, True), (100, BudgetAction.TELL, False)]
    ] * 2


def test_a_member_of_one_project_sees_its_budgets_and_history_only(
    project: Project, owner: User, client_of: SignIn
) -> None:
    other = ProjectFactory(organization=project.organization)
    for place in (None, project, other):
        set_limit(project.organization, project=place, monthly_limit=700, by=owner)
    SpendRequestFactory(project=other, asked_by=owner)
    member = MembershipFactory(organization=project.organization, project=project, role=Role.MEMBER).user
    page = client_of(member, "en").get("/usage/budgets/").context["page"]
    assert [row.budget.project for row in page.rows] == [project]
    assert ([event.place for event in page.events], page.requests) == ([project.name], [])


def test_a_page_holds_25_and_leads_to_the_rest(project: Project, owner: User, client_of: SignIn) -> None:
    for _number in range(26):
        BudgetFactory(
            organization=project.organization, project=ProjectFactory(organization=project.organization),
            updated_by=owner,
        )  # fmt: skip
    client = client_of(owner, "en")
    first = client.get("/usage/budgets/").context["page"]
    second = client.get(f"/usage/budgets/?after={first.after}").context["page"]
    assert [len(page.rows) for page in (first, second)] == [25, 1]
    assert [client.get(f"/usage/budgets/?after={typed}").status_code for typed in ("x", "9" * 30, "-1")] == [404] * 3


def test_a_request_is_declined_with_a_sentence_or_approved(project: Project, owner: User, client_of: SignIn) -> None:
    client = client_of(owner, "en")
    first, second = (SpendRequestFactory(project=project, asked_by=owner) for _ in range(2))
    silent = client.post(f"/usage/requests/{first.code}/", {"decline": "1", "answer": " "})
    assert (silent.status_code, list(silent.context["form"].errors)) == (422, ["answer"])
    client.post(f"/usage/requests/{first.code}/", {"decline": "1", "answer": "Use the smaller plan."})
    client.post(f"/usage/requests/{second.code}/", {"approve": "1"})
    client.post(f"/usage/requests/{second.code}/", {"decline": "1", "answer": "too late"})
    assert list(SpendRequest.objects.order_by("pk").values_list("state", "answer")) == [
        ("declined", "Use the smaller plan."), ("approved", ""),
    ]  # fmt: skip
    page = text_of(client.get(f"/usage/requests/{second.code}/"))
    assert "Create the job from the kept form" in page


def test_who_asked_sees_the_request_and_others_without_the_money_do_not(
    project: Project, owner: User, client_of: SignIn
) -> None:
    member, other = (MembershipFactory(organization=project.organization, role=Role.MEMBER).user for _ in range(2))
    request = SpendRequestFactory(project=project, asked_by=member)
    address = f"/usage/requests/{request.code}/"
    assert [client_of(person).get(address).status_code for person in (member, other)] == [200, 404]
    assert client_of(member).post(address, {"approve": "1"}).status_code == 403
    assert SpendRequest.objects.get().state == "asked"
