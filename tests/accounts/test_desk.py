"""Who comes to the staff desk, and how."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from portal.accounts.desk import has_desk
from portal.accounts.models import User
from tests.factories import StaffFactory, UserFactory

DESK = "/desk/catalog/"
SignIn = Callable[..., Client]


def test_staff_with_a_second_step_have_a_desk_and_nobody_else(db: None) -> None:
    people = [StaffFactory(), StaffFactory(is_active=False), UserFactory(is_staff=True), UserFactory(), AnonymousUser()]
    assert [has_desk(person) for person in people] == [True, False, False, False, False]


def test_staff_without_a_second_step_find_nothing(db: None, desk_of: SignIn) -> None:
    assert desk_of(UserFactory(is_staff=True)).get(DESK).status_code == 404


def test_a_member_of_any_role_finds_nothing(owner: User, desk_of: SignIn) -> None:
    assert desk_of(owner).get(DESK).status_code == 404


def test_who_signed_in_without_the_second_step_takes_it_now(db: None, client_of: SignIn) -> None:
    answer = client_of(StaffFactory()).get(DESK)
    assert (answer.status_code, answer["Location"]) == (302, "/account/2fa/reauthenticate/?next=%2Fdesk%2Fcatalog%2F")


def test_acts_ask_again_after_five_minutes_and_reading_does_not(db: None, desk_of: SignIn) -> None:
    client = desk_of(StaffFactory(), since_s=301)
    answer = client.post("/desk/catalog/new/")
    assert (client.get(DESK).status_code, answer.status_code) == (200, 302)
    assert answer["Location"].startswith("/account/reauthenticate/?next=")
    assert desk_of(StaffFactory(), since_s=200).post("/desk/catalog/new/").status_code == 422


@pytest.mark.parametrize("url", ["/desk/catalog/", "/help/"])
def test_the_menu_shows_the_desk_to_whom_it_is_open(url: str, db: None, desk_of: SignIn, owner: User) -> None:
    shown = [
        f'href="{DESK}"' in desk_of(person).get(url, follow=True).content.decode() for person in (StaffFactory(), owner)
    ]
    assert shown == [True, False]
