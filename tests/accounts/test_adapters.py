from __future__ import annotations

from typing import Any

import pytest
from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.core import mail
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.utils import translation

from portal.accounts.adapters import AccountAdapter, MFAAdapter, remember_language
from portal.accounts.models import User
from tests.factories import UserFactory
from tests.factories.accounts import PASSWORD


def request() -> HttpRequest:
    return RequestFactory().get("/")


@pytest.mark.parametrize(("ours", "theirs"), [(AccountAdapter, DefaultAccountAdapter), (MFAAdapter, DefaultMFAAdapter)])
def test_our_sentences_stand_in_place_of_ones_that_allauth_says(ours: Any, theirs: Any) -> None:
    assert set(ours.error_messages) - set(theirs.error_messages) == set()


def test_second_factors_are_sealed_at_rest() -> None:
    adapter = MFAAdapter(request())
    sealed = adapter.encrypt("JBSWY3DPEHPK3PXP")
    assert ("JBSWY3DP" in sealed, adapter.decrypt(sealed)) == (False, "JBSWY3DPEHPK3PXP")


def test_a_passkey_without_a_name_is_numbered(member: User) -> None:
    adapter, kind = MFAAdapter(request()), Authenticator.Type.WEBAUTHN
    names = []
    with translation.override("en"):
        for _ in range(2):
            names.append(adapter.generate_authenticator_name(member, kind))
            Authenticator.objects.create(user=member, type=kind, data={})
    assert names == ["Passkey 1", "Passkey 2"]


@pytest.mark.parametrize(("production", "opens"), [(True, False), (False, True)])
def test_people_of_the_demo_cannot_sign_in_to_production(
    db: None, settings: Any, production: bool, opens: bool
) -> None:
    settings.PRODUCTION = production
    UserFactory(email="owner@demo.example")
    client = Client()
    answer = client.post("/account/login/", {"login": "owner@demo.example", "password": PASSWORD})
    assert (answer.status_code, "_auth_user_id" in client.session) == (302, opens)


def test_mails_are_in_the_language_of_their_reader_not_of_the_request(db: None) -> None:
    for language in ("ja", "en"):
        UserFactory(email=f"{language}@example.jp", language=language)
        with translation.override("en" if language == "ja" else "ja"):
            Client().post("/account/password/reset/", {"email": f"{language}@example.jp"})
    assert [message.to for message in mail.outbox] == [["ja@example.jp"], ["en@example.jp"]]
    assert [message.subject.isascii() for message in mail.outbox] == [False, True]


@pytest.mark.parametrize(("cookies", "learnt"), [({}, "en"), ({"language": "ja"}, None)])
def test_a_browser_keeps_the_language_that_somebody_chose_there(
    db: None, settings: Any, cookies: dict[str, str], learnt: str | None
) -> None:
    UserFactory(email="a@example.jp", language="en")
    client = Client()
    for value in cookies.values():
        client.cookies[settings.LANGUAGE_COOKIE_NAME] = value
    answer = client.post("/account/login/", {"login": "a@example.jp", "password": PASSWORD})
    said = answer.cookies.get(settings.LANGUAGE_COOKIE_NAME)
    assert (said and said.value) == learnt


def test_the_language_is_remembered_as_djangos_own_page_does(settings: Any) -> None:
    response = HttpResponse()
    remember_language(response, "en")
    kept = response.cookies[settings.LANGUAGE_COOKIE_NAME]
    assert (kept.value, kept["max-age"], kept["samesite"]) == ("en", settings.LANGUAGE_COOKIE_AGE, "Lax")
