"""Saved views of the list of jobs, each person's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from portal.accounts.models import Organization, Project, User
from portal.jobs.models import SavedView
from portal.jobs.saved_views import MOST
from tests.factories import JobFactory, MembershipFactory

FAILED = "state=failed&project=all"


def kept() -> list[tuple[str, str]]:
    return list(SavedView.objects.order_by("pk").values_list("name", "query"))


def tabs(page: Any) -> list[tuple[str, str]]:
    nav = re.search(r'<nav class="tabs".*?</nav>', page.content.decode(), re.S)
    assert nav is not None
    return re.findall(r'<a href="/jobs/\?([^"]*)"(?: aria-current="page")?>([^<]+)</a>', nav[0].replace("&amp;", "&"))


def test_a_view_keeps_the_filters_and_nothing_else_of_the_url_and_stands_on_the_list(
    client_of: Callable[..., Client], member: User, project: Project
) -> None:
    JobFactory(project=project)
    client = client_of(member)
    answer = client.post(f"/jobs/views/?{FAILED}&before=5&evil=%3Cb%3E", {"name": "  What   failed "})
    assert (answer.status_code, answer["Location"]) == (302, f"/jobs/?{FAILED}")
    assert kept() == [("What failed", FAILED)]
    assert tabs(client.get("/jobs/")) == [(FAILED, "What failed")]
    current = client.get(answer["Location"]).content.decode()
    assert re.search(r'aria-current="page">What failed</a>', current)


def test_the_same_view_sent_twice_is_kept_once(
    client_of: Callable[..., Client], member: User, project: Project
) -> None:
    client = client_of(member)
    codes = [client.post(f"/jobs/views/?{FAILED}", {"name": "Failed"}).status_code for _sent in range(2)]
    assert (codes, kept()) == ([302, 302], [("Failed", FAILED)])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "Enter a name for the view."),
        ("\0", "Enter a name for the view."),
        ("x" * 41, "A name can have up to 40 characters. Shorten it."),
        ("a\u202eb", "The name contains invisible or control characters. Type it again."),
        ("Mine", "You already have a view of that name. Choose another name."),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_a_sentence(
    name: str,
    sentence: str,
    client_of: Callable[..., Client],
    member: User,
    organization: Organization,
    project: Project,
) -> None:
    SavedView.objects.create(user=member, organization=organization, name="Mine", query="")
    answer = client_of(member, language="en").post(f"/jobs/views/?{FAILED}", {"name": name})
    assert (answer.status_code, sentence in answer.content.decode(), kept()) == (422, True, [("Mine", "")])


def test_twenty_are_enough(
    client_of: Callable[..., Client], member: User, organization: Organization, project: Project
) -> None:
    for n in range(MOST):
        SavedView.objects.create(user=member, organization=organization, name=str(n), query="")
    answer = client_of(member, language="en").post(f"/jobs/views/?{FAILED}", {"name": "one more"})
    assert answer.status_code == 422
    assert "You can keep up to 20 views. Delete one first." in answer.content.decode()
    assert SavedView.objects.count() == MOST == 20


def test_a_view_is_renamed_and_deleted(
    client_of: Callable[..., Client], member: User, organization: Organization, project: Project
) -> None:
    view = SavedView.objects.create(user=member, organization=organization, name="Old", query=FAILED)
    SavedView.objects.create(user=member, organization=organization, name="Taken", query="")
    client = client_of(member, language="en")
    assert client.post("/jobs/views/", {"rename": view.pk, "name": "New"}).status_code == 302
    assert kept() == [("New", FAILED), ("Taken", "")]
    refused = client.post("/jobs/views/", {"rename": view.pk, "name": "Taken"})
    assert (refused.status_code, kept()) == (422, [("New", FAILED), ("Taken", "")])
    assert client.post("/jobs/views/", {"delete": view.pk, "name": ""}).status_code == 302
    assert kept() == [("Taken", "")]


@pytest.mark.parametrize("act", ["rename", "delete"])
def test_views_of_others_do_not_exist(
    act: str, client_of: Callable[..., Client], member: User, organization: Organization, project: Project
) -> None:
    colleague = MembershipFactory(organization=organization, role="owner").user
    theirs = SavedView.objects.create(user=colleague, organization=organization, name="Theirs", query="state=failed")
    JobFactory(project=project)
    other = MembershipFactory(user=member, role="owner").organization
    client = client_of(member)
    current = client.get("/jobs/").context["current"].organization
    elsewhere = organization if current == other else other
    own = SavedView.objects.create(user=member, organization=elsewhere, name="Elsewhere", query="state=failed")
    for pk in (theirs.pk, own.pk, 10**8, "x", ""):
        assert client.post("/jobs/views/", {act: pk, "name": "Mine now"}).status_code == 404
    assert kept() == [("Theirs", "state=failed"), ("Elsewhere", "state=failed")]
    page = client.get("/jobs/").content.decode()
    assert ("Theirs" in page, "Elsewhere" in page) == (False, False)
