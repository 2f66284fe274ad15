from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.test import Client
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.datasets import tokens
from portal.datasets.tokens import Scope, scope_of
from tests.factories.datasets import DatasetFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def session(client_of: Callable[..., Client], member: User) -> UserSession:
    key = client_of(member).session.session_key
    return UserSession.objects.update_or_create(session_key=key, defaults={"user": member, "ip": "127.0.0.1"})[0]


@pytest.fixture
def token(session: UserSession, member: User, project: Project) -> str:
    return tokens.issue(by=member, session=session, project=project)


def test_a_token_names_its_person_and_place(session: UserSession, member: User, project: Project, token: str) -> None:
    dataset, other = DatasetFactory(project=project), DatasetFactory(project=project, name="other")
    foreign = DatasetFactory()

    narrow = scope_of(tokens.issue(by=member, session=session, project=project, dataset=dataset))

    assert (scope_of(token), narrow) == (Scope(member, project), Scope(member, project, dataset))
    assert narrow is not None and [narrow.covers(one) for one in (dataset, other, foreign)] == [True, False, False]
    assert [Scope(member, project).covers(one) for one in (dataset, other, foreign)] == [True, True, False]


@pytest.mark.parametrize(("minutes", "works"), [(59, True), (61, False)])
def test_a_token_lives_an_hour(token: str, minutes: int, works: bool) -> None:
    with time_machine.travel(timezone.now() + timedelta(minutes=minutes), tick=False):
        assert (scope_of(token) is not None) is works


def test_a_changed_token_is_none(token: str, settings: object) -> None:
    body, _colon, rest = token.partition(":")
    changed = [body[:-2] + "xx:" + rest, token[:-1] + ("a" if token[-1] != "a" else "b"), "", "x", "a:b:c", "é:é:é"]

    assert [scope_of(one) for one in changed] == [None] * 6
    settings.SECRET_KEY = "another key of this installation"  # type: ignore[attr-defined]
    assert scope_of(token) is None


def test_signing_out_takes_it_back(session: UserSession, token: str) -> None:
    session.end()
    assert scope_of(token) is None


def test_a_session_that_ended_without_a_word_takes_it_back(session: UserSession, token: str) -> None:
    session._session_store().delete(session.session_key)
    assert scope_of(token) is None


def test_a_new_password_takes_it_back(member: User, token: str) -> None:
    member.set_password("a new one, long enough")
    member.save()
    assert scope_of(token) is None


def test_somebody_shut_out_has_none(member: User, token: str) -> None:
    User.objects.filter(pk=member.pk).update(is_active=False)
    assert scope_of(token) is None


def test_a_dataset_that_is_gone_is_not_the_whole_project(session: UserSession, member: User, project: Project) -> None:
    dataset = DatasetFactory(project=project)
    narrow = tokens.issue(by=member, session=session, project=project, dataset=dataset)
    dataset.delete()
    assert scope_of(narrow) is None
