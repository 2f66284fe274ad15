import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portal.accounts import invitations, registries
from portal.accounts.models import Membership, Organization, Project, RegistryLogin, User
from portal.audit.models import AuditEvent
from tests.factories import MembershipFactory, OrganizationFactory, ProjectFactory, RegistryLoginFactory
from tests.factories.accounts import PASSWORD

ClientOf = Callable[..., Client]
ROLES = ("owner", "manager", "member", "viewer", "billing")
MEMBERS, PROJECTS = "/organization/members/", "/organization/projects/"


# --- who may open what -----------------------------------------------------------------------------------------------
PAGES = {  # owner, manager, member, viewer, billing
    "/profile/": (200, 200, 200, 200, 200),
    "/organization/": (200, 200, 200, 200, 200),
    "/organization/leave/": (200, 200, 200, 200, 200),
    "/organization/members/": (200, 200, 200, 200, 200),
    "/organization/members/invite/": (200, 200, 403, 403, 403),
    "/organization/members/{other}/": (200, 200, 403, 403, 403),
    "/organization/members/{other}/remove/": (200, 200, 403, 403, 403),
    "/organization/projects/": (200, 200, 200, 200, 200),
    "/organization/projects/new/": (200, 200, 403, 403, 403),
    "/organization/projects/{project}/": (200, 200, 403, 403, 403),
    "/organization/projects/{project}/close/": (200, 200, 403, 403, 403),
    "/organization/registries/": (200, 200, 403, 403, 403),
    "/organization/registries/new/": (200, 200, 403, 403, 403),
    "/organization/registries/{login}/": (200, 200, 404, 404, 404),
    "/organization/registries/{login}/remove/": (200, 200, 404, 404, 404),
    "/organization/hand-over/": (302, 403, 403, 403, 403),  # asks the owner for the password first
}


@pytest.mark.parametrize("path", PAGES)
def test_pages_by_role(request: pytest.FixtureRequest, client_of: ClientOf, path: str, project: Project) -> None:
    other = MembershipFactory(organization=project.organization)
    login = RegistryLoginFactory(organization=project.organization)
    url = path.format(other=other.pk, project=project.code, login=login.pk)
    found = tuple(client_of(request.getfixturevalue(role)).get(url).status_code for role in ROLES)
    assert found == PAGES[path]


@pytest.mark.parametrize("path", ["members/{other}/", "members/{other}/remove/", "projects/{project}/"])
def test_strangers_find_nothing(client_of: ClientOf, stranger: User, project: Project, path: str) -> None:
    other = MembershipFactory(organization=project.organization)
    url = "/organization/" + path.format(other=other.pk, project=project.code)
    assert [client_of(stranger).get(url).status_code, client_of(stranger).post(url).status_code] == [404, 404]


def test_signed_out_are_sent_to_sign_in(db: None) -> None:
    for path in PAGES:
        url = path.format(other=1, project="p-x", login=1)
        assert Client().get(url)["Location"].startswith("/account/login/?next=")


def test_role_change_counts_in_an_open_session(client_of: ClientOf, owner: User, manager: User) -> None:
    open_session = client_of(manager)
    assert open_session.get("/organization/members/invite/").status_code == 200
    row = Membership.objects.get(user=manager)
    client_of(owner).post(f"{MEMBERS}{row.pk}/", {"role": "viewer"})
    assert open_session.get("/organization/members/invite/").status_code == 403
    client_of(owner).post(f"{MEMBERS}{row.pk}/remove/")
    assert open_session.get(MEMBERS)["Location"] == "/start/"
    assert open_session.get(f"{MEMBERS}{row.pk}/")["Location"] == "/start/"


# --- lists -----------------------------------------------------------------------------------------------------------
def statements(client: Client, url: str) -> int:
    client.get(url)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url).status_code == 200
    return len(queries)


@pytest.mark.parametrize("url", [MEMBERS, PROJECTS])
def test_lists_ask_the_same_number_of_questions(
    client_of: ClientOf, owner: User, organization: Organization, url: str
) -> None:
    client = client_of(owner)
    invitations.invite(organization, email="x0@example.jp", role="member", by=owner)
    ProjectFactory(organization=organization)
    counts = [statements(client, url)]
    for until in (25, 100):
        while Membership.objects.count() < until:
            MembershipFactory(organization=organization)
            ProjectFactory(organization=organization)
        for n in range(5):
            invitations.invite(organization, email=f"{until}-{n}@example.jp", role="member", by=owner)
        counts.append(statements(client, url))
    assert len(set(counts)) == 1
    assert counts[0] <= 10


@pytest.mark.parametrize("url", [MEMBERS, PROJECTS])
def test_paging_shows_every_row_once_both_ways(
    client_of: ClientOf, owner: User, organization: Organization, url: str
) -> None:
    for _ in range(59):
        MembershipFactory(organization=organization)
        ProjectFactory(organization=organization)
    ProjectFactory(organization=organization)
    client, seen, here = client_of(owner), [], url
    pages = []
    while here:
        page = client.get(here)
        pages.append([row.pk for row, _may in page.context["rows"]])
        seen += pages[-1]
        last = page
        here = url + page.context["older_url"] if page.context["older_url"] else ""
    assert [len(p) for p in pages] == [25, 25, 10]
    assert seen == sorted(set(seen), reverse=True)
    back = client.get(url + last.context["newer_url"])
    assert [row.pk for row, _may in back.context["rows"]] == pages[1]
    for bad in ("?before=x", "?after=%00"):
        assert client.get(url + bad).status_code == 404


def test_project_guest_sees_the_people_of_that_project(client_of: ClientOf, owner: User, project: Project) -> None:
    guest = MembershipFactory(organization=project.organization, project=project)
    page = client_of(guest.user).get(MEMBERS)
    assert [row for row, _may in page.context["rows"]] == [guest]


# --- projects --------------------------------------------------------------------------------------------------------
def test_create_edit_close_reopen(client_of: ClientOf, manager: User) -> None:
    client = client_of(manager)
    assert client.post(f"{PROJECTS}new/", {"name": "髙﨑①", "ends_on": ""}).status_code == 302
    project = Project.objects.get()
    assert (project.name, project.code.isascii(), client.session["project"]) == ("髙﨑①", True, project.code)
    last = timezone.localdate().isoformat()
    client.post(f"{PROJECTS}{project.code}/", {"name": "b", "description": "c", "ends_on": last})
    client.post(f"{PROJECTS}{project.code}/close/")
    project.refresh_from_db()
    assert (project.name, project.description, str(project.ends_on), project.is_open) == ("b", "c", last, False)
    Project.objects.update(ends_on="2020-01-01")
    client.post(f"{PROJECTS}{project.code}/reopen/")
    project.refresh_from_db()
    assert (project.is_open, project.ends_on) == (True, None)
    acts = ["project.created", "project.edited", "project.closed", "project.reopened"]
    assert list(AuditEvent.objects.order_by("pk").values_list("act", flat=True)) == acts


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({}, {"name"}),
        ({"name": " \t "}, {"name"}),
        ({"name": "x" * 61}, {"name"}),
        ({"name": "taken"}, {"name"}),
        ({"name": "a\r\nb"}, {"name"}),
        ({"name": "a\x00b"}, {"name"}),
        ({"name": "a", "description": "x" * 301}, {"description"}),
        ({"name": "a", "ends_on": "soon"}, {"ends_on"}),
        ({"name": "a", "ends_on": "2020-01-01"}, {"ends_on"}),
        ({"name": "a", "ends_on": "9999-12-31"}, {"ends_on"}),
        ({"name": "x" * 2_000_000}, {"name"}),
    ],
)
def test_bad_projects_get_sentences(
    client_of: ClientOf, manager: User, organization: Organization, values: dict[str, str], wrong: set[str]
) -> None:
    ProjectFactory(organization=organization, name="taken")
    answer = client_of(manager).post(f"{PROJECTS}new/", values)
    assert (answer.status_code, set(answer.context["form"].errors)) == (422, wrong)
    assert Project.objects.count() == 1


# --- members ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({}, {"role"}),
        ({"role": "owner"}, {"role"}),
        ({"role": "god"}, {"role"}),
        ({"role": "viewer", "last_day": "9999-12-31"}, {"last_day"}),
        ({"role": "viewer", "last_day": "2020-01-01"}, {"last_day"}),
        ({"role": "viewer", "last_day": "x" * 100000}, {"last_day"}),
    ],
)
def test_bad_member_changes_get_sentences(
    client_of: ClientOf, manager: User, member: User, values: dict[str, str], wrong: set[str]
) -> None:
    row = Membership.objects.get(user=member)
    answer = client_of(manager).post(f"{MEMBERS}{row.pk}/", values)
    assert (answer.status_code, set(answer.context["form"].errors)) == (422, wrong)
    row.refresh_from_db()
    assert (row.role, row.expires_at) == ("member", None)


def test_last_day_is_a_whole_day_in_japan(client_of: ClientOf, manager: User, member: User) -> None:
    row = Membership.objects.get(user=member)
    today = timezone.localdate()
    client_of(manager).post(f"{MEMBERS}{row.pk}/", {"role": "viewer", "last_day": today.isoformat()})
    row.refresh_from_db()
    assert (row.role, row.last_day, row.is_active) == ("viewer", today, True)
    assert timezone.localtime(row.expires_at).time().isoformat() == "00:00:00"


def test_last_owner_stays_with_a_sentence(client_of: ClientOf, owner: User) -> None:
    row = Membership.objects.get(user=owner)
    client = client_of(owner)
    answers = [
        client.post(f"{MEMBERS}{row.pk}/", {"role": "viewer"}),
        client.post(f"{MEMBERS}{row.pk}/remove/"),
        client.post("/organization/leave/"),
    ]
    assert [a.status_code for a in answers] == [422] * 3
    assert Membership.objects.get(user=owner).role == "owner"


def test_manager_cannot_remove_the_owner(client_of: ClientOf, manager: User, owner: User) -> None:
    row = Membership.objects.get(user=owner)
    assert client_of(manager).post(f"{MEMBERS}{row.pk}/remove/").status_code == 422
    assert Membership.objects.filter(pk=row.pk).exists()


def test_hand_over_asks_for_the_password_first(owner: User, member: User) -> None:
    client = Client()
    client.post("/account/login/", {"login": owner.email, "password": PASSWORD})
    url = "/organization/hand-over/"
    assert client.post(url, {"to": member.pk})["Location"].startswith("/account/reauthenticate/")
    assert Membership.objects.get(user=owner).role == "owner"
    client.post("/account/reauthenticate/", {"password": PASSWORD, "next": "/"})
    assert client.post(url, {"to": 10**30}).status_code == 422
    answer = client.post(url, {"to": member.pk})
    assert (answer.status_code, answer["Location"]) == (302, "/organization/")
    assert (Membership.objects.get(user=owner).role, Membership.objects.get(user=member).role) == ("manager", "owner")
    assert [m.to for m in mail.outbox] == [[member.email]]


def test_names_with_markup_stay_text(client_of: ClientOf, manager: User, organization: Organization) -> None:
    MembershipFactory(organization=organization, user__family_name="<img src=x onerror=alert(1)>", user__given_name="")
    page = client_of(manager).get(MEMBERS).content.decode()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


# --- switching, organization, profile --------------------------------------------------------------------------------
def test_switch_between_own_places_only(client_of: ClientOf, member: User, project: Project, stranger: User) -> None:
    second = MembershipFactory(user=member, organization=OrganizationFactory(name="Second")).organization
    inside = ProjectFactory(organization=second)
    foreign = Project.objects.get(organization__memberships__user=stranger)
    client = client_of(member)
    to = {"organization": second.code, "project": inside.code, "next": "/jobs/?state=running"}
    assert client.post("/switch/", to)["Location"] == "/jobs/?state=running"
    assert (client.session["organization"], client.session["project"]) == (second.code, inside.code)
    for wrong in (
        {"organization": foreign.organization.code},
        {"organization": second.code, "project": foreign.code},
        {"organization": second.code, "project": project.code},
        {"organization": "\x00"},
        {},
    ):
        assert client.post("/switch/", wrong).status_code == 404
    assert client.session["organization"] == second.code


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", "", "x"]
)
def test_switch_stays_on_this_site(client_of: ClientOf, member: User, organization: Organization, target: str) -> None:
    answer = client_of(member).post("/switch/", {"organization": organization.code, "next": target})
    assert answer["Location"] == "/"


def test_only_owners_edit_the_organization(
    client_of: ClientOf, owner: User, manager: User, organization: Organization
) -> None:
    values = {"name": "Ｎew 名", "kind": "university"}
    assert client_of(manager).post("/organization/", values).status_code == 403
    assert client_of(owner).post("/organization/", {"name": "", "kind": "x"}).status_code == 422
    assert client_of(owner).post("/organization/", values).status_code == 302
    organization.refresh_from_db()
    assert (organization.name, organization.kind) == ("Ｎew 名", "university")


def test_profile_sets_name_and_language_of_this_browser(client_of: ClientOf, member: User) -> None:
    client = client_of(member)
    assert client.post("/profile/", {"language": "xx"}).status_code == 422
    answer = client.post("/profile/", {"family_name": "", "given_name": "Jo", "language": "en"})
    member.refresh_from_db()
    assert (member.get_full_name(), member.language, answer.cookies["django_language"].value) == ("Jo", "en", "en")


def test_changes_need_the_form_token(manager: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(manager, backend="allauth.account.auth_backends.AuthenticationBackend")
    assert client.post(f"{PROJECTS}new/", {"name": "a"}).status_code == 403
    assert not Project.objects.exists()


def test_pages_are_kept_by_no_cache(client_of: ClientOf, member: User) -> None:
    for url in ("/profile/", MEMBERS, "/account/email/", "/account/2fa/"):
        assert "no-store" in client_of(member).get(url)["Cache-Control"]


# --- allauth's pages in our hands ------------------------------------------------------------------------------------
KEY = {"id": "AAAA", "rawId": "AAAA", "type": "public-key"}
SIGNED = {"clientDataJSON": "e30", "authenticatorData": "AAAA", "signature": "AAAA", "userHandle": "AAAA"}
HOSTILE: list[Any] = [
    *(None, "", "x", [], {}, 1, {"id": "x"}),
    {**KEY, "rawId": "x", "response": {}},
    {**KEY, "response": {"clientDataJSON": "AAAA", "attestationObject": "AAAA"}},
    {**KEY, "response": SIGNED},
    {**KEY, "response": {**SIGNED, "authenticatorData": "A" * 60, "userHandle": "!!!"}},
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_passkeys_are_form_errors(number: int, owner: User) -> None:
    client = Client()
    client.get("/account/2fa/webauthn/login/", headers={"accept": "application/json"})
    sent = {"credential": json.dumps(HOSTILE[number])}
    assert client.post("/account/2fa/webauthn/login/", sent).status_code in (302, 422)
    client.post("/account/login/", {"login": owner.email, "password": PASSWORD})
    client.post("/account/reauthenticate/", {"password": PASSWORD, "next": "/"})
    assert client.get("/account/2fa/webauthn/add/").status_code == 200
    assert client.post("/account/2fa/webauthn/add/", {"name": "x", **sent}).status_code == 422


def test_a_passkey_that_is_not_known_is_told_as_a_passkey(db: None) -> None:
    client = Client(headers={"accept-language": "en"})
    client.get("/account/2fa/webauthn/login/", headers={"accept": "application/json"})
    sent = {"credential": json.dumps({**KEY, "response": {**SIGNED, "authenticatorData": "A" * 60}})}
    page = client.post("/account/2fa/webauthn/login/", sent, follow=True).content.decode()
    assert "passkey" in page.lower() and "code is not right" not in page
    assert "This passkey was not accepted. Try again, or use another way." in page


@pytest.mark.parametrize("path", ["signup", "login", "password/reset"])
@pytest.mark.parametrize(
    "email", ["", "x", "a@b", "a" * 300 + "@example.jp", "a\x00@example.jp", "a@" + "b." * 140 + "jp"]
)
def test_hostile_addresses_are_form_errors(db: None, path: str, email: str) -> None:
    values = {"email": email, "login": email, "password": PASSWORD, "password1": PASSWORD}
    assert Client().post(f"/account/{path}/", values).status_code == 422
    assert (User.objects.count(), len(mail.outbox)) == (0, 0)


def test_totp_with_recovery_codes(owner: User) -> None:
    from allauth.mfa.models import Authenticator
    from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time

    client = Client()
    client.post("/account/login/", {"login": owner.email, "password": PASSWORD})
    assert client.get("/account/2fa/totp/activate/")["Location"].startswith("/account/reauthenticate/")
    client.post("/account/reauthenticate/", {"password": PASSWORD, "next": "/"})
    secret = client.get("/account/2fa/totp/activate/").context["form"].secret
    assert client.post("/account/2fa/totp/activate/", {"code": "000000"}).status_code == 422
    code = format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time())))
    wide = code.translate({ord(d): ord(d) + 0xFEE0 for d in "0123456789"})
    assert client.post("/account/2fa/totp/activate/", {"code": wide})["Location"] == "/account/2fa/recovery-codes/"
    codes = client.get("/account/2fa/recovery-codes/").context["unused_codes"]
    assert len(codes) == 10
    stored = Authenticator.objects.get(type="totp").data["secret"]
    assert (secret in stored, len(stored) > 100) == (False, True)  # sealed

    again = Client()
    asked = again.post("/account/login/", {"login": owner.email, "password": PASSWORD})
    assert asked["Location"] == "/account/2fa/authenticate/"
    assert again.get("/profile/").status_code == 302
    assert again.post("/account/2fa/authenticate/", {"code": "12345678"}).status_code == 422
    assert again.post("/account/2fa/authenticate/", {"code": codes[0]})["Location"] == "/"
    assert again.get("/profile/").status_code == 200


def test_every_own_page_of_allauth_renders(client_of: ClientOf, member: User) -> None:
    client = Client()
    for name in ("login", "signup", "password/reset", "inactive", "password/reset/done"):
        assert client.get(f"/account/{name}/").status_code == 200
    client.post("/account/login/", {"login": member.email, "password": PASSWORD})
    client.post("/account/reauthenticate/", {"password": PASSWORD, "next": "/"})
    for name in ("email", "password/change", "2fa", "2fa/totp/activate", "2fa/webauthn", "2fa/webauthn/add", "sessions",
                 "logout", "reauthenticate"):  # fmt: skip
        assert (name, client.get(f"/account/{name}/").status_code) == (name, 200)


# --- logins for container registries ---------------------------------------------------------------------------------
REGISTRIES = "/organization/registries/"


def test_a_login_is_kept_replaced_and_removed_and_its_password_never_shown(
    client_of: ClientOf, manager: User, organization: Organization
) -> None:
    client = client_of(manager, language="en")
    sent = {"hostname": "ghcr.io", "username": "alice", "password": "canary-1"}
    pages = [client.post(f"{REGISTRIES}new/", sent, follow=True)]
    pages.append(client.post(f"{REGISTRIES}new/", sent))
    row = RegistryLogin.objects.get()
    pages.append(client.get(f"{REGISTRIES}{row.pk}/"))
    pages.append(client.post(f"{REGISTRIES}{row.pk}/", {"username": "bob", "password": ""}))
    pages.append(client.post(f"{REGISTRIES}{row.pk}/", {"username": "bob", "password": "canary-2"}, follow=True))
    kept = registries.login_for(organization, "ghcr.io/x")
    pages.append(client.post(f"{REGISTRIES}{row.pk}/remove/", follow=True))
    told = [page.content.decode() for page in pages]
    assert [page.status_code for page in pages] == [200, 422, 200, 422, 200, 200]
    assert not any("canary" in text for text in told)
    assert (kept and (kept.username, kept.password), RegistryLogin.objects.exists()) == (("bob", "canary-2"), False)
    assert "keeps a login for this registry already" in told[1] and "Enter the password" in told[3]


def test_the_organizations_page_leads_there_for_those_who_may(client_of: ClientOf, owner: User, member: User) -> None:
    leads = [REGISTRIES in client_of(who).get("/organization/").content.decode() for who in (owner, member)]
    assert leads == [True, False]
