from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.test import RequestFactory
from django.utils import timezone, translation

from portal.accounts.forms import (
    CodeField,
    EmailField,
    FoundingForm,
    HandOverForm,
    InviteForm,
    Line,
    MemberForm,
    NameForm,
    NewRegistryForm,
    ProjectForm,
    SignUpForm,
    posted,
    roles_to_give,
)
from portal.accounts.models import Membership, Organization, Project, User
from portal.accounts.roles import Role
from tests.factories import MembershipFactory, ProjectFactory

ALL = {"owner", "manager", "member", "viewer", "billing"}


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (" 山田 ", "山田"),
        ("か\u3099", "が"),  # one letter, however it was typed
        ("髙① ㈱", "髙① ㈱"),  # names keep their letters
        ("", ""),
    ],
)
def test_a_line_is_kept_as_people_write_it(typed: str, kept: str) -> None:
    assert Line(required=False).clean(typed) == kept


@pytest.mark.parametrize("typed", ["a\nb", "a\0b", "a\u202eb", "\u200b"])
def test_a_line_has_no_hidden_letters(typed: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Line().clean(typed)
    with translation.override("en"):
        assert refused.value.messages == ["Use one line without control characters."]


@pytest.mark.parametrize(
    ("typed", "meant"), [("Ｔａｒｏ＠Example.JP ", "taro@example.jp"), ("a@example.jp", "a@example.jp")]
)
def test_an_address_from_a_japanese_keyboard_is_what_it_means(typed: str, meant: str) -> None:
    assert EmailField().clean(typed) == meant


@pytest.mark.parametrize("typed", ["a", "a@", "a@b", f"{'a' * 250}@example.jp"])
def test_what_is_no_address_or_too_long_for_its_column_is_refused(typed: str) -> None:
    with pytest.raises(ValidationError):
        EmailField().clean(typed)


def test_a_code_may_be_typed_in_full_width() -> None:
    assert CodeField().clean("１２３ＡＢＣ") == "123ABC"


def test_an_empty_post_is_a_form_sent_empty() -> None:
    assert posted(RequestFactory().get("/?a=1")) is None
    assert posted(RequestFactory().post("/")) == QueryDict("")


@pytest.mark.parametrize(
    ("answers", "wrong"),
    [
        ({"family_name": "山田"}, []),
        ({"given_name": "Hanako"}, []),
        ({}, ["family_name"]),
        ({"family_name": "山" * 51}, ["family_name"]),
    ],
)
def test_one_name_is_enough(answers: dict[str, str], wrong: list[str]) -> None:
    assert list(NameForm(answers).errors) == wrong


@pytest.mark.parametrize(
    ("answers", "wrong"),
    [
        ({"kind": "individual"}, []),
        ({"kind": "startup", "organization_name": "Mirai"}, []),
        ({"kind": "startup"}, ["organization_name"]),
        ({"kind": "startup", "organization_name": " "}, ["organization_name"]),
        ({"kind": "club"}, ["kind"]),
        ({}, ["kind"]),
    ],
)
def test_only_an_individual_needs_no_name_of_an_organization(answers: dict[str, str], wrong: list[str]) -> None:
    form = FoundingForm({"family_name": "山田", **answers})
    assert list(form.errors) == wrong
    assert [len(errors) for errors in form.errors.values()] == [1] * len(wrong)


# --- days ------------------------------------------------------------------------------------------------------------
TODAY = date(2026, 11, 25)


@time_machine.travel(datetime(2026, 11, 24, 15, 30, tzinfo=UTC))
@pytest.mark.parametrize(
    ("day", "is_fine"),
    [
        (TODAY, True),
        (TODAY - timedelta(days=1), False),  # still today in UTC
        (TODAY + timedelta(days=3660), True),
        (TODAY + timedelta(days=3661), False),
    ],
)
def test_a_last_day_is_today_in_japan_or_within_ten_years(day: date, is_fine: bool) -> None:
    assert ProjectForm({"name": "x", "ends_on": day.isoformat()}).is_valid() is is_fine


def test_a_membership_ends_with_its_last_day_in_japan(owner: User, member: User) -> None:
    with time_machine.travel(datetime(2026, 11, 24, 15, 30, tzinfo=UTC)):
        given = {"role": "viewer", "last_day": "2026-11-30"}
        form = MemberForm(given, membership=Membership.objects.get(user=member), by=owner)
        assert form.is_valid()
    assert form.expires_at == datetime(2026, 11, 30, 15, tzinfo=UTC)
    assert Membership(expires_at=form.expires_at).last_day == date(2026, 11, 30)


# --- who is offered what ---------------------------------------------------------------------------------------------
def offered(form: Any, field: str) -> list[str]:
    return [value for value, _label in form.fields[field].choices]


@pytest.mark.parametrize(
    ("role", "given"),
    [("owner", ALL), ("manager", ALL - {"owner"}), ("member", set()), ("viewer", set()), ("billing", set())],
)
def test_a_person_gives_what_their_own_role_covers(
    request: pytest.FixtureRequest, organization: Organization, project: Project, role: str, given: set[str]
) -> None:
    by = request.getfixturevalue(role)
    assert [roles_to_give(by, organization, place) for place in (None, project)] == [given, given]


def test_who_manages_one_project_invites_into_that_one(organization: Organization, project: Project) -> None:
    lead = MembershipFactory(organization=organization, project=project, role=Role.MANAGER).user
    other = ProjectFactory(organization=organization)
    form = InviteForm(
        {"email": "a@example.jp", "role": "member"}, organization=organization, projects=[project, other], by=lead
    )
    assert (offered(form, "place"), list(form.errors)) == ([project.code], ["place"])
    form = InviteForm(
        {"email": "a@example.jp", "role": "member", "place": project.code},
        organization=organization,
        projects=[project, other],
        by=lead,
    )
    assert (form.is_valid(), form.project) == (True, project)


def test_managers_of_all_invite_into_the_whole_organization_too(
    organization: Organization, project: Project, manager: User
) -> None:
    given = {"email": "a@example.jp", "role": "viewer", "place": ""}
    form = InviteForm(given, organization=organization, projects=[project], by=manager)
    assert (offered(form, "place"), form.is_valid(), form.project) == (["", project.code], True, None)
    assert set(offered(form, "role")) == ALL - {"owner"}


def test_nobody_owns_a_project(organization: Organization, project: Project, owner: User) -> None:
    inside = MembershipFactory(organization=organization, project=project)
    everywhere = MembershipFactory(organization=organization)
    roles = [set(offered(MemberForm(membership=row, by=owner), "role")) for row in (inside, everywhere)]
    assert roles == [ALL - {"owner"}, ALL]


def test_an_organization_is_handed_to_those_who_belong_to_it_today(
    organization: Organization, project: Project, owner: User, member: User, stranger: User
) -> None:
    MembershipFactory(organization=organization, project=project)
    MembershipFactory(organization=organization, expires_at=timezone.now() - timedelta(days=1))
    MembershipFactory(organization=organization, user__is_active=False)
    form = HandOverForm(organization=organization, by=owner)
    assert list(form.fields["to"].queryset) == [member]  # type: ignore[attr-defined]


def test_forms_of_allauth_have_labels_and_no_placeholders(db: None) -> None:
    fields = SignUpForm().fields
    with translation.override("en"):
        assert [(str(field.label), field.widget.attrs.get("placeholder")) for field in fields.values()] == [
            ("E-mail address", None),
            ("Password", None),
        ]
    assert fields["email"].widget.attrs["maxlength"] == 254


@pytest.mark.parametrize(
    ("typed", "hostname"),
    [
        ("ghcr.io", "ghcr.io"),
        ("https://GHCR.io/", "ghcr.io"),
        ("ｎｖｃｒ．ｉｏ", "nvcr.io"),
        ("localhost:5000", "localhost:5000"),
        ("ghcr", ""),
        ("ghcr.io/team", ""),
        ("alice@ghcr.io", ""),
        (".io", ""),
        ("ghcr.io:port", ""),
        ("x" * 260 + ".io", ""),
    ],
)
def test_a_registry_is_a_host_name(typed: str, hostname: str) -> None:
    form = NewRegistryForm({"hostname": typed, "username": "alice", "password": " token\r\n"})
    assert (form.is_valid(), form.cleaned_data.get("hostname", ""), form.cleaned_data["password"]) == (
        bool(hostname), hostname, "token",
    )  # fmt: skip


def test_a_password_is_not_filled_in_again() -> None:
    form = NewRegistryForm({"hostname": "", "username": "alice", "password": "canary"})
    assert (form.is_valid(), "canary" in form.as_p()) == (False, False)
