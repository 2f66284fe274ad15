import re

import pytest
import time_machine
from django.core import mail
from django.test import Client
from django.utils import timezone

from portal.accounts.models import Membership, Organization, Project, User
from portal.accounts.roles import Role
from portal.audit.models import AuditEvent
from portal.billing.models import Credit
from tests.factories import MembershipFactory, UserFactory

PASSWORD = "correct horse battery"
CODE = "/account/confirm-email/"


def code_of(message: mail.EmailMessage) -> str:
    found = re.search(r"^ {4}(\S+)$", str(message.body), re.MULTILINE)
    assert found
    return found[1]


def sign_up(client: Client, email: str, next: str = "") -> None:
    answer = client.post("/account/signup/", {"email": email, "password1": PASSWORD, "next": next})
    assert (answer.status_code, answer["Location"].split("?")[0]) == (302, CODE)


@pytest.fixture
def ja(db: None) -> Client:
    return Client(headers={"accept-language": "ja"})


def test_sign_up_asks_only_for_address_and_password(ja: Client) -> None:
    form = ja.get("/account/signup/").context["form"]
    assert list(form.fields) == ["email", "password1"]


def test_from_sign_up_to_the_first_project(ja: Client) -> None:
    sign_up(ja, "Hanako@Example.jp")
    assert mail.outbox[0].to == ["hanako@example.jp"]
    assert ja.get(CODE).status_code == 200
    answer = ja.post(CODE, {"code": code_of(mail.outbox[0])})
    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert ja.get("/")["Location"] == "/start/"

    answer = ja.post(
        "/start/",
        {"family_name": "山田", "given_name": "花子", "kind": "startup", "organization_name": "株式会社ミライ"},
    )

    assert (answer.status_code, answer["Location"]) == (302, "/")
    user = User.objects.get()
    organization = Organization.objects.get()
    project = Project.objects.get()
    assert (user.get_full_name(), user.language) == ("山田 花子", "ja")
    assert (organization.name, organization.kind, project.name) == (
        "株式会社ミライ",
        "startup",
        "はじめてのプロジェクト",
    )
    assert [(m.user, m.role, m.project) for m in organization.memberships.all()] == [(user, Role.OWNER, None)]
    assert Credit.objects.filter(organization=organization).count() == 1
    assert ja.session["project"] == project.code


def test_english_sign_up_gets_english_mail_and_project(db: None) -> None:
    client = Client(headers={"accept-language": "en"})
    sign_up(client, "jo@example.com")
    assert mail.outbox[0].subject.startswith("Your confirmation code: ")
    client.post(CODE, {"code": code_of(mail.outbox[0])})
    client.post("/start/", {"given_name": "Jo", "kind": "individual"})
    assert [(o.name, o.kind, o.projects.get().name) for o in Organization.objects.all()] == [
        ("Jo", "individual", "First project")
    ]


def test_onboarding_twice_makes_one_organization(ja: Client) -> None:
    user = UserFactory()
    ja.force_login(user)
    answers = {"family_name": "山田", "kind": "company", "organization_name": "山田商店"}
    assert [ja.post("/start/", answers).status_code for _ in range(2)] == [302, 302]
    assert (Organization.objects.count(), Credit.objects.count()) == (1, 1)


def test_leaving_and_founding_anew_gives_no_second_trial_and_says_so(ja: Client) -> None:
    user = UserFactory()
    ja.force_login(user)
    words = "トライアルクレジットは"
    answers = {"family_name": "山田", "kind": "company", "organization_name": "山田商店"}
    assert words not in ja.get("/start/").content.decode()
    ja.post("/start/", answers)
    Membership.objects.all().delete()
    assert words in ja.get("/start/").content.decode()
    ja.post("/start/", answers)
    assert (Organization.objects.count(), Credit.objects.count(), Membership.objects.count()) == (2, 1, 1)


@pytest.mark.parametrize(
    ("answers", "wrong"),
    [
        ({}, {"family_name", "kind"}),
        ({"family_name": "山田", "kind": "company"}, {"organization_name"}),
        ({"family_name": "山田", "kind": "bank", "organization_name": "A"}, {"kind"}),
        ({"family_name": "山" * 51, "kind": "individual"}, {"family_name"}),
        ({"family_name": "a\nBcc: x@example.jp", "kind": "individual"}, {"family_name"}),
        ({"family_name": "a\x00", "kind": "individual"}, {"family_name"}),
        ({"given_name": "a", "kind": "company", "organization_name": "x" * 101}, {"organization_name"}),
        ({"given_name": "a", "kind": "company", "organization_name": "\u202eevil"}, {"organization_name"}),
    ],
)
def test_onboarding_refuses_with_sentences(ja: Client, answers: dict[str, str], wrong: set[str]) -> None:
    ja.force_login(UserFactory(family_name="", given_name=""))
    answer = ja.post("/start/", answers)
    assert (answer.status_code, set(answer.context["form"].errors)) == (422, wrong)
    assert not Organization.objects.exists()


def test_onboarding_is_all_or_nothing(ja: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    ja.force_login(UserFactory(family_name="", given_name=""))
    monkeypatch.setattr("portal.billing.credits.grant_trial", lambda organization, founder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ja.post("/start/", {"family_name": "山田", "kind": "individual"})
    assert (Organization.objects.count(), AuditEvent.objects.count()) == (0, 0)
    assert User.objects.get().family_name == ""


# --- no account enumeration ------------------------------------------------------------------------------------------
def test_taken_address_gives_the_same_answer_and_a_mail_to_its_owner(db: None) -> None:
    UserFactory(email="taken@example.jp", language="en")
    free, taken = (Client(headers={"accept-language": "ja"}) for _ in range(2))
    answers = [
        client.post("/account/signup/", {"email": email, "password1": PASSWORD})
        for client, email in ((free, "free@example.jp"), (taken, "taken@example.jp"))
    ]
    assert {(a.status_code, a["Location"]) for a in answers} == {(302, CODE)}
    pages = [re.sub(r"free@|taken@|value=\"\w{64}\"|\w{64}", "", c.get(CODE).content.decode()) for c in (free, taken)]
    assert pages[0] == pages[1]
    assert User.objects.count() == 2
    assert [(m.to, m.subject) for m in mail.outbox[1:]] == [(["taken@example.jp"], "You already have an account")]


def test_reset_says_the_same_for_known_and_unknown(ja: Client) -> None:
    UserFactory(email="known@example.jp")
    answers = [ja.post("/account/password/reset/", {"email": e}) for e in ("known@example.jp", "unknown@example.jp")]
    assert [(a.status_code, a["Location"]) for a in answers] == [(302, "/account/password/reset/confirm/")] * 2


def test_wrong_password_and_unknown_address_read_alike(ja: Client) -> None:
    UserFactory(email="known@example.jp")
    errors = []
    for email in ("known@example.jp", "unknown@example.jp"):
        answer = ja.post("/account/login/", {"login": email, "password": "wrong"})
        errors.append((answer.status_code, answer.context["form"].non_field_errors()))
    assert errors[0] == errors[1]
    assert errors[0][0] == 422


# --- password, address -----------------------------------------------------------------------------------------------
def test_reset_by_code_then_sign_in(ja: Client) -> None:
    UserFactory(email="known@example.jp")
    ja.post("/account/password/reset/", {"email": "known@example.jp"})
    answer = ja.post("/account/password/reset/confirm/", {"code": code_of(mail.outbox[0])})
    assert answer["Location"] == "/account/password/reset/complete/"
    new = "a much better one 7"
    ja.post("/account/password/reset/complete/", {"password1": new, "password2": new})
    answer = ja.post("/account/login/", {"login": "known@example.jp", "password": new})
    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert len(mail.outbox) == 2  # the second tells the owner


def test_a_second_code_can_be_asked_for(ja: Client) -> None:
    for email in ("known@example.jp", "unknown@example.jp"):
        if email.startswith("known"):
            UserFactory(email=email)
        ja.post("/account/password/reset/", {"email": email})
        html = ja.get("/account/password/reset/confirm/").content.decode()
        assert '<form id="resend" method="post" action="/account/password/reset/">' in html
        assert f'<input type="hidden" name="email" value="{email}">' in html
        ja.post("/account/password/reset/", {"email": email})
    assert [m.to for m in mail.outbox] == [["known@example.jp"]] * 2 + [["unknown@example.jp"]] * 2
    assert code_of(mail.outbox[0]) != code_of(mail.outbox[1])


def test_who_cannot_ask_for_a_second_code_is_not_told_to(ja: Client) -> None:
    sign_up(ja, "hanako@example.jp")
    assert "新しいコードを送信" in ja.get(CODE).content.decode()
    session = ja.session
    session["account_email_verification_code"]["resend_count"] = 2
    session.save()
    assert "新しいコード" not in ja.get(CODE).content.decode()


def test_address_changes_with_its_code_only(ja: Client) -> None:
    user = MembershipFactory(user__email="old@example.jp").user
    ja.post("/account/login/", {"login": user.email, "password": PASSWORD})
    asked = ja.post("/account/email/", {"action_add": "1", "email": "new@example.jp"})
    assert asked["Location"] == "/account/reauthenticate/?next=%2Faccount%2Femail%2F"
    ja.post(asked["Location"], {"password": PASSWORD, "next": "/account/email/"})
    user.refresh_from_db()
    assert user.email == "old@example.jp"
    answer = ja.post(CODE, {"code": code_of(mail.outbox[0])})
    user.refresh_from_db()
    assert (answer["Location"], user.email) == ("/profile/", "new@example.jp")
    assert [m.to for m in mail.outbox] == [["new@example.jp"], ["old@example.jp"]]


def test_the_hint_and_the_errors_of_a_password_are_short_sentences(ja: Client) -> None:
    html = ja.get("/account/signup/").content.decode()
    hint = "10文字以上。数字だけのもの、よく使われるもの、氏名やメールアドレスに似たものは使えません。"
    assert f'id="id_password1_helptext">{hint}</div>' in html
    answer = ja.post("/account/signup/", {"email": "taro@example.jp", "password1": "12345"})
    assert answer.context["form"].errors["password1"] == [
        "パスワードは10文字以上で入力してください。",
        "よく使われているパスワードは使えません。",
        "数字だけのパスワードは使えません。",
    ]
    ja.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    answer = ja.post("/account/signup/", {"email": "taro@example.jp", "password1": "12345"})
    assert answer.context["form"].errors["password1"] == [
        "Use at least 10 characters.",
        "Choose a password that is less common.",
        "Use letters too, not only digits.",
    ]


@pytest.mark.parametrize("password", ["short", "1234567890", "password123", "taro@example.jp", ""])
def test_weak_passwords_get_sentences(ja: Client, password: str) -> None:
    answer = ja.post("/account/signup/", {"email": "taro@example.jp", "password1": password})
    assert (answer.status_code, list(answer.context["form"].errors)) == (422, ["password1"])
    assert not User.objects.exists()


def test_six_wrong_passwords_are_too_many(ja: Client) -> None:
    user = UserFactory()
    for _ in range(5):
        ja.post("/account/login/", {"login": user.email, "password": "wrong"})
    answer = ja.post("/account/login/", {"login": user.email, "password": PASSWORD})
    assert answer.status_code == 422
    assert "Location" not in answer


def test_sign_out_everywhere(db: None) -> None:
    user = MembershipFactory().user
    here, there = Client(), Client()
    for client in (here, there):
        client.post("/account/login/", {"login": user.email, "password": PASSWORD})
    assert len(here.get("/account/sessions/").context["sessions"]) == 2
    assert here.post("/account/sessions/").status_code == 302
    assert there.get("/profile/").status_code == 302
    assert here.get("/profile/").status_code == 200


def test_sessions_say_which_browser_and_when(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    user = MembershipFactory().user
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
    there = Client(headers={"user-agent": firefox, "accept-language": "ja"})
    here = Client(headers={"user-agent": "curl/8.5.0", "accept-language": "ja"})
    with time_machine.travel("2026-11-24T03:00:00Z") as clock:
        for client in (there, here):
            client.post("/account/login/", {"login": user.email, "password": PASSWORD})
        there.get("/profile/")
        clock.shift(3600)
        monkeypatch.setattr("portal.accounts.middleware.LastSeen.EVERY_S", 0)
        there.get("/profile/")
        monkeypatch.undo()
        clock.shift(1800)
        page = here.get("/account/sessions/")
        html = page.content.decode()
    seen = {s.user_agent: (s.last_seen_at - s.created_at).total_seconds() for s in page.context["sessions"]}
    assert (3595 < seen[firefox] < 3610, seen["curl/8.5.0"] < 10) == (True, True)
    assert ["Firefox・Linux" in html, "curl" in html, firefox in html, "30分前" in html] == [True, True, False, True]


def test_signed_in_browser_learns_the_persons_language(db: None) -> None:
    user = MembershipFactory(user__language="en").user
    client = Client(headers={"accept-language": "ja"})
    answer = client.post("/account/login/", {"login": user.email, "password": PASSWORD})
    assert answer.cookies["django_language"].value == "en"


def test_membership_that_ended_opens_nothing(ja: Client) -> None:
    ended = MembershipFactory(expires_at=timezone.now())
    ja.force_login(ended.user)
    assert ja.get("/organization/members/")["Location"] == "/start/"
    assert Membership.objects.count() == 1
