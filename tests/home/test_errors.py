"""Pages for what went wrong: whom they name, what they need, and what they keep to themselves."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from portal.accounts.models import Project, User
from tests.factories import MembershipFactory, ProjectFactory

SignIn = Callable[..., Client]


@pytest.fixture
def boss(owner: User) -> User:
    owner.family_name, owner.given_name = "佐藤", "健"
    owner.save()
    return owner


def test_403_has_the_menu_and_names_whom_to_ask(viewer: User, boss: User, project: Project, client_of: SignIn) -> None:
    answer = client_of(viewer).get("/jobs/new/")
    html = answer.content.decode()
    assert answer.status_code == 403
    assert f"{project.organization.name}の担当: 佐藤 健" in html
    assert 'href="/jobs/"' in html  # the menu
    assert "役割" not in html
    assert "複数の組織" not in html
    MembershipFactory(user=viewer, role="viewer", organization=ProjectFactory().organization)
    assert "複数の組織に所属しています" in client_of(viewer).get("/jobs/new/").content.decode()


def test_403_without_the_database_is_plain_and_names_nobody(
    viewer: User, boss: User, project: Project, client_of: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any) -> None:
        raise OperationalError

    monkeypatch.setattr("portal.home.views.owners_of", away)
    answer = client_of(viewer).get("/jobs/new/")
    html = answer.content.decode()
    assert (answer.status_code, "app plain" in html, "佐藤" in html) == (403, True, False)


def test_a_script_gets_the_short_403(viewer: User, boss: User, project: Project, client_of: SignIn) -> None:
    html = client_of(viewer).get("/jobs/new/", headers={"HX-Request": "true"}).content.decode()
    assert ("app plain" in html, "佐藤" in html) == (True, False)


def test_404_has_the_menu_for_the_signed_in_only(member: User, project: Project, client_of: SignIn) -> None:
    pages = [client.get("/nowhere/") for client in (client_of(member), Client())]
    assert [page.status_code for page in pages] == [404, 404]
    assert ["app plain" in page.content.decode() for page in pages] == [False, True]


@pytest.mark.parametrize(
    ("language", "words"), [("ja", "このアドレスは直接開けません"), ("en", "does not work that way")]
)
def test_405_says_so_and_keeps_allow(db: None, language: str, words: str) -> None:
    client = Client(headers={"accept-language": language})
    for answer in (client.get("/theme/"), client.post("/help/")):
        assert (answer.status_code, words in answer.content.decode()) == (405, True)
        assert answer["Allow"] == ("POST" if answer.request["PATH_INFO"] == "/theme/" else "GET, HEAD")


def test_429_of_signing_in_says_when_to_come_back(db: None, settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"signup": "1/m/ip"}
    client = Client()
    answers = [client.post("/account/signup/", {"email": "x"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [422, 429]
    assert answers[1]["Retry-After"] == "60"
