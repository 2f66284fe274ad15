from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import psycopg_pool
import pytest
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError
from django.test import Client, RequestFactory
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.catalog.models import ProviderAccount
from portal.catalog.provider_accounts import note_failure
from portal.core.templatetags.formats import clock
from portal.home import views
from tests.factories import (
    JobFactory,
    MembershipFactory,
    OrganizationFactory,
    PriceFactory,
    ProjectFactory,
    ProviderAccountFactory,
    UserFactory,
)

ClientOf = Callable[..., Client]


def test_the_first_page_is_for_everybody_and_the_dashboard_for_members(
    client_of: ClientOf, member: User, project: Project
) -> None:
    landing, dashboard = Client().get("/"), client_of(member).get("/")
    lonely = client_of(UserFactory()).get("/")
    assert [next(each.name for each in page.templates) for page in (landing, dashboard)] == [
        "home/landing.html",
        "home/dashboard.html",
    ]
    assert (lonely.status_code, lonely["Location"]) == (302, "/start/")


def test_the_dashboard_shows_the_newest_jobs_of_the_chosen_place(
    client_of: ClientOf, member: User, project: Project
) -> None:
    jobs = [JobFactory(project=project) for _ in range(views.RECENT_JOBS + 1)]
    done = JobFactory(project=project, state="succeeded")
    JobFactory()  # somebody else's
    context = client_of(member).get("/").context
    newest = [done, *reversed(jobs)][: views.RECENT_JOBS]
    assert ([job for job, _used in context["jobs"]], context["active"]) == (newest, newest[1:])


def test_a_running_job_costs_here_what_its_own_page_says(client_of: ClientOf, member: User, project: Project) -> None:
    price = PriceFactory(amount="0.28", minimum_s=0)
    started = timezone.now() - timedelta(seconds=1000)
    job = JobFactory(project=project, state="running", started_at=started, price=price, offering=price.offering)
    client = client_of(member)
    shown = client.get("/").context["jobs"]
    assert [(one, 280 <= used <= 285) for one, used in shown] == [(job, True)]
    assert 280 <= client.get(f"/jobs/{job.code}/").context["cost"].used <= 285


def test_accountants_see_money_and_no_jobs(client_of: ClientOf, billing: User, project: Project) -> None:
    JobFactory(project=project)
    context = client_of(billing).get("/").context
    assert (context["jobs"], context["room"] is None) == ([], False)


def test_a_viewer_of_one_project_sees_that_projects_jobs_alone(client_of: ClientOf, project: Project) -> None:
    guest = MembershipFactory(organization=project.organization, project=project, role=Role.VIEWER).user
    mine = JobFactory(project=project)
    JobFactory(project=ProjectFactory(organization=project.organization))
    assert client_of(guest).get("/").context["jobs"] == [(mine, 0)]


@pytest.mark.parametrize(
    ("chosen", "next_", "kept", "to"),
    [
        ("dark", "/jobs/", "dark", "/jobs/"),
        ("auto", "/", "auto", "/"),
        ("<b>", "/help/", None, "/help/"),
        ("dark", "https://evil.example/", "dark", "/"),
        ("dark", "//evil.example/", "dark", "/"),
        ("dark", "abc", "dark", "/"),
        ("dark", "a\0b", "dark", "/"),
    ],
)
def test_the_theme_is_chosen_without_script_and_stays_on_this_site(
    db: None, chosen: str, next_: str, kept: str | None, to: str
) -> None:
    answer = Client().post("/theme/", {"theme": chosen, "next": next_})
    cookie = answer.cookies.get("theme")
    assert (answer.status_code, answer["Location"], cookie and cookie.value) == (302, to, kept)


def test_health_answers_without_a_database() -> None:
    # No `db` fixture: pytest-django fails this test on any query.
    answer = views.healthz(RequestFactory().get("/healthz"))
    assert (answer.status_code, answer.content, "no-store" in answer["Cache-Control"]) == (200, b"ok\n", True)


def test_ready_says_which_part_is_missing(db: None, storage_ready: None) -> None:
    answer = Client().get("/readyz")
    parts = answer.json()
    assert (answer.status_code, [name for name, part in parts.items() if not part["ok"]]) == (503, ["workers"])
    assert parts["workers"] == {"ok": False, "detail": "never seen", "age_s": None}


def test_the_status_page_works_while_the_store_is_away(db: None, settings: Any) -> None:
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    answer = Client().get("/status/")
    assert (answer.status_code, {name: ok for name, ok, _age in answer.context["parts"]}["storage"]) == (
        200,
        False,
    )


def test_a_fault_is_500_while_the_database_answers(db: None) -> None:
    answer = views.server_error(RequestFactory().get("/"))
    assert (answer.status_code, answer.has_header("Retry-After")) == (500, False)


@pytest.mark.parametrize(
    ("cause", "error", "status"),
    [
        (psycopg_pool.PoolTimeout(), OperationalError(), 503),  # nobody answered
        (psycopg.errors.AdminShutdown(), OperationalError(), 503),
        (psycopg.errors.DiskFull(), OperationalError(), 503),
        (psycopg.InterfaceError(), InterfaceError(), 503),
        (psycopg.errors.DeadlockDetected(), OperationalError(), 500),
        (psycopg.errors.UniqueViolation(), IntegrityError(), 500),
    ],
)
def test_a_broken_connection_is_503_even_if_the_database_is_back_by_now(
    db: None, cause: Exception, error: Exception, status: int
) -> None:
    try:
        raise error from cause
    except (DatabaseError, InterfaceError):
        answer = views.server_error(RequestFactory().get("/"))
    assert (answer.status_code, answer.has_header("Retry-After")) == (status, status == 503)


def test_every_vendored_package_is_named_once_with_its_licence(db: None) -> None:
    packages = Client().get("/licences/").context["packages"]
    names = [package["package"] for package in packages]
    assert (len(names), all(package["licence"] and package["version"] for package in packages)) == (
        len(set(names)),
        True,
    )


def test_members_see_how_their_own_organizations_accounts_answer_and_nobody_elses(
    client_of: ClientOf, member: User, project: Project
) -> None:
    own = [ProviderAccountFactory(organization=project.organization, kind=kind) for kind in ("sakura_dok", "slurm_ssh")]
    ProviderAccountFactory(organization=project.organization, kind="slurm_rest", active=False)
    others = ProviderAccountFactory(organization=OrganizationFactory())
    shared = ProviderAccountFactory()
    note_failure(own[1].pk, "no connection")
    shown = [
        client.get("/status/", headers={"Accept-Language": "en"})
        for client in (client_of(member), client_of(UserFactory()), Client())
    ]
    assert [page.context["accounts"] for page in shown] == [[*own, shared], [shared], [shared]]
    text = shown[0].content.decode()
    assert text.count(f"Only for {project.organization.name}<") == 2
    assert [str(others.organization.name) in text, *(str(account) in text for account in (*own, shared))] == [False] * 4
    assert ("we keep trying" in text, "no connection" in text) == (True, False)
    assert "Only for" not in "".join(page.content.decode() for page in shown[1:])


def test_the_status_page_says_when_a_paused_provider_is_called_again(db: None) -> None:
    account = ProviderAccountFactory()
    note_failure(account.pk, "no connection")
    texts = [Client().get("/status/", headers={"Accept-Language": "en"}).content.decode()]
    for _ in range(2):
        note_failure(account.pk, "no connection")
    texts.append(Client().get("/status/", headers={"Accept-Language": "en"}).content.decode())
    until = clock(ProviderAccount.objects.get().paused_until)
    assert [("we keep trying" in text, f"paused, the next call is at {until}" in text) for text in texts] == [
        (True, False),
        (False, True),
    ]
    assert "no connection" not in "".join(texts)
