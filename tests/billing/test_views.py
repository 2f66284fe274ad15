import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Role
from portal.billing import credits
from portal.billing.models import Budget
from portal.jobs.states import JobState
from tests.factories import (
    JobFactory,
    MembershipFactory,
    OfferingFactory,
    PriceFactory,
    ProjectFactory,
    ProviderFactory,
    UserFactory,
)
from tests.factories.billing import give_credit, jst, metered

SignIn = Callable[..., Client]


@pytest.fixture(autouse=True)
def clock() -> Any:
    """Noon within a month: "a moment ago" is always today and this month."""
    with time_machine.travel(jst(2026, 11, 24, 12)):
        yield


def use(project: Project, user: User, job_code: str, *, yen: int, days_ago: int = 0, slug: str = "sakura") -> None:
    price = PriceFactory(
        amount="1", minimum_s=0, offering=OfferingFactory(provider=ProviderFactory(slug=slug), site=None)
    )
    start = (timezone.now() - timedelta(days=days_ago)).replace(microsecond=0) - timedelta(seconds=yen)
    metered(project, user, price, job_code=job_code, started_at=start, seconds=yen, held=yen)


def text_of(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_the_page_shows_the_sum_of_the_month(project: Project, owner: User, client_of: SignIn) -> None:
    give_credit(project, 100_000)
    use(project, owner, "J-1", yen=1, slug="kddi")
    response = client_of(owner, "en").get("/usage/")
    page = response.context["page"]
    assert (response.status_code, page.use.amount, [job.code for job in page.jobs]) == (200, 1, ["J-1"])
    assert "Cost this month (tax incl.) ¥1" in text_of(response)


def test_the_dearest_jobs_are_told_to_who_may_see_jobs_and_only_their_cost_to_accountants(
    project: Project, owner: User, client_of: SignIn
) -> None:
    give_credit(project, 100_000)
    use(project, owner, "J-1", yen=1)
    JobFactory(code="J-1", project=project, submitted_by=owner, name="pre-training", state=JobState.SUCCEEDED)
    accountant = MembershipFactory(organization=project.organization, role=Role.BILLING).user
    told = []
    for person in (owner, accountant):
        html = client_of(person, "en").get("/usage/").content.decode()
        table = html.split('id="top-h"')[1].split("</table>")[0]
        words = ("J-1", "pre-training", str(owner), "Completed", 'href="/jobs/J-1/"')
        told.append([word for word in words if word in table])
    assert told == [["J-1", "pre-training", str(owner), "Completed", 'href="/jobs/J-1/"'], ["J-1"]]


def test_the_month_needs_a_button_only_without_script(project: Project, owner: User, client_of: SignIn) -> None:
    html = client_of(owner, "en").get("/usage/").content.decode()
    assert re.findall(r'<noscript><button class="btn">Show</button></noscript>|<button class="btn">Show', html) == [
        '<noscript><button class="btn">Show</button></noscript>'
    ]


def test_nothing_used_says_what_to_do_and_what_it_costs(project: Project, owner: User, client_of: SignIn) -> None:
    credits.grant_trial(project.organization, founder=owner)
    words = text_of(client_of(owner, "en").get("/usage/"))
    assert "Nothing was used this month yet" in words
    assert "Creating a job costs nothing until it starts" in words
    assert "Credit left ¥10,000" in words


@pytest.mark.parametrize("month", ["2026-13", "0000-00", "2026-1", "'; DROP", "9999-12", "\0", "x" * 5000, ""])
def test_a_month_that_is_none_or_to_come_shows_the_running_one(
    project: Project, owner: User, client_of: SignIn, month: str
) -> None:
    response = client_of(owner).get("/usage/", {"month": month, "by": month})
    assert (response.status_code, response.context["page"].is_current) == (200, True)


@pytest.mark.parametrize("code", ["p-nothing0", "\0", "x" * 5000])
def test_an_unknown_project_is_not_found(project: Project, owner: User, client_of: SignIn, code: str) -> None:
    assert client_of(owner).get("/usage/", {"project": code}).status_code == 404


def test_a_project_of_others_is_not_found(project: Project, stranger: User, client_of: SignIn) -> None:
    client = client_of(stranger)
    assert [client.get(url, {"project": project.code}).status_code for url in ("/usage/", "/usage/csv/")] == [404, 404]
    assert client.post(f"/usage/budget/?project={project.code}").status_code == 404


def test_a_member_of_one_project_sees_that_project_only(project: Project, owner: User, client_of: SignIn) -> None:
    """What could leak exists: another project's job, the organization's budget and its credit."""
    give_credit(project, 87_654)
    secret = ProjectFactory(organization=project.organization, name="secret-project")
    use(secret, owner, "J-SECRET", yen=4_321)
    use(project, owner, "J-MINE", yen=7)
    Budget.objects.create(organization=project.organization, limit=654_321, updated_by=owner)
    person = MembershipFactory(organization=project.organization, project=project, role=Role.MEMBER).user
    client = client_of(person)
    response = client.get("/usage/")
    words = text_of(response)
    page = response.context["page"]
    assert (page.use.amount, [j.code for j in page.jobs], page.purse, page.budgets) == (7, ["J-MINE"], None, [])
    assert [leak for leak in ("secret-project", "J-SECRET", "4,3", "654,321", "83,3", "87,6") if leak in words] == []
    csv = b"".join(client.get("/usage/csv/").streaming_content).decode()  # type: ignore[attr-defined]
    assert ("secret-project" in csv, csv.count("\r\n")) == (False, 2)
    assert client.get("/usage/", {"project": secret.code}).status_code == 404


def test_the_csv_adds_up_to_the_page_and_opens_in_excel(project: Project, owner: User, client_of: SignIn) -> None:
    give_credit(project, 100_000)
    Project.objects.filter(pk=project.pk).update(name="=1+1")
    use(project, owner, "J-1", yen=30)
    response = client_of(owner, "en").get("/usage/csv/")
    text = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    lines = text.removeprefix("\ufeff").split("\r\n")
    assert text.startswith("\ufeff")
    assert lines[0] == (
        'Date (Japan),Provider,Project,Project code,Offering,GPU,GPU-seconds,"Cost (yen, tax included)"'
    )
    assert sum(int(line.split(",")[-1]) for line in lines[1:] if line) == 30
    assert all(line.split(",")[2] == "'=1+1" for line in lines[1:] if line)
    assert response["Content-Disposition"] == f'attachment; filename="usage-{timezone.localdate():%Y-%m}.csv"'


# --- the budget form, by raw HTTP ------------------------------------------------------------------------------------
def test_a_manager_sets_changes_and_takes_away_a_budget(project: Project, manager: User, client_of: SignIn) -> None:
    client = client_of(manager)
    limits = []
    for typed in ("300000", "４００，０００", ""):
        response = client.post("/usage/budget/", {"place": project.code, "monthly_limit": typed})
        assert (response.status_code, response["Location"]) == (302, "/usage/")
        limits.append(list(Budget.objects.values_list("project__code", "limit")))
    assert limits == [[(project.code, 300_000)], [(project.code, 400_000)], []]


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"place": "{code}"},
        {"place": "", "monthly_limit": "1"},
        {"place": "o-other", "monthly_limit": "1"},
        {"place": "{code}", "monthly_limit": "-5"},
        {"place": "{code}", "monthly_limit": "9" * 100_000},
        {"place": "{code}", "monthly_limit": "<script>alert(1)</script>"},
        {"place": "{code}", "monthly_limit": "1\0"},
        {"place": "\0", "monthly_limit": "1"},
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_stored(
    project: Project, owner: User, client_of: SignIn, sent: dict[str, str]
) -> None:
    data = {key: value.replace("{code}", project.code) for key, value in sent.items()}
    response = client_of(owner).post("/usage/budget/", data)
    assert (response.status_code, bool(response.context["form"].errors), Budget.objects.count()) == (422, True, 0)
    assert b"<script>alert" not in response.content


def test_a_budget_below_what_is_spent_is_refused_with_the_amount(
    project: Project, owner: User, client_of: SignIn
) -> None:
    give_credit(project, 1000)
    use(project, owner, "J-1", yen=1)
    Budget.objects.create(organization=project.organization, limit=500, updated_by=owner)
    response = client_of(owner, "en").post("/usage/budget/", {"place": project.organization.code, "monthly_limit": "0"})
    assert response.status_code == 422
    assert response.context["form"].errors == {
        "monthly_limit": [
            "¥1 is already spent in this period or held for jobs. Enter at least this amount, or stop jobs first."
        ]
    }
    assert Budget.objects.get().limit == 500


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_who_may_not_set_budgets_is_refused(project: Project, client_of: SignIn, role: Role) -> None:
    person = MembershipFactory(organization=project.organization, role=role).user
    client = client_of(person)
    response = client.post("/usage/budget/", {"place": project.code, "monthly_limit": "1"})
    assert (response.status_code, Budget.objects.count()) == (403, 0)
    assert b"budget-edit" not in client.get("/usage/").content


def test_a_project_manager_sets_their_project_but_not_the_organization(project: Project, client_of: SignIn) -> None:
    person = MembershipFactory(organization=project.organization, project=project, role=Role.MANAGER).user
    client = client_of(person)
    answers = [
        client.post("/usage/budget/", {"place": place, "monthly_limit": "5"}).status_code
        for place in (project.organization.code, project.code)
    ]
    assert (answers, [b.project for b in Budget.objects.all()]) == ([422, 302], [project])


def test_strangers_to_the_portal_are_asked_to_sign_in(client: Client, db: None) -> None:
    assert [client.get(url).status_code for url in ("/usage/", "/usage/csv/")] == [302, 302]
    assert client.get("/usage/budget/").status_code == 405


def test_who_belongs_nowhere_is_asked_to_begin(client_of: SignIn, db: None) -> None:
    client = client_of(UserFactory())
    assert [client.get(url)["Location"] for url in ("/usage/", "/usage/csv/")] == ["/start/", "/start/"]


# --- how much it asks of the database --------------------------------------------------------------------------------
def queries_of(client: Client) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get("/usage/").status_code == 200
    return len(queries)


def test_the_page_asks_the_same_few_questions_for_one_job_and_for_many(
    organization: Organization, project: Project, owner: User, client_of: SignIn
) -> None:
    give_credit(project, 1_000_000)
    client = client_of(owner)
    queries_of(client)  # the price of storage is known for some seconds from now on
    counts = [queries_of(client)]
    use(project, owner, "J-0", yen=5)
    counts.append(queries_of(client))
    for n in range(1, 12):
        other = ProjectFactory(organization=organization)
        Budget.objects.create(organization=organization, project=other, limit=10_000, updated_by=owner)
        give_credit(project, 100)
        use(other, owner, f"J-{n}", yen=5 + n, slug=("kddi", "sakura", "highreso")[n % 3])
    counts.append(queries_of(client))
    assert counts == [9, 9, 9]
