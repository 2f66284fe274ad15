from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from django.core import mail
from django.test import Client
from django.utils import timezone

from portal.accounts import invitations, membership
from portal.accounts.access import NotPermitted
from portal.accounts.models import Invitation, Membership, Organization, Project, User
from portal.accounts.roles import Role
from portal.audit.models import AuditEvent
from tests.accounts.test_signing_up import CODE, code_of, sign_up
from tests.factories import MembershipFactory, ProjectFactory, UserFactory

ClientOf = Callable[..., Client]


def link_in(message: mail.EmailMessage) -> str:
    return next(line for line in str(message.body).splitlines() if "/invitations/" in line).split("8000")[1]


@pytest.fixture
def invited(organization: Organization, manager: User) -> tuple[Invitation, str]:
    row, token = invitations.invite(organization, email="new@example.jp", role="member", by=manager)
    return row, f"/invitations/{token}/"


# --- making ----------------------------------------------------------------------------------------------------------
def test_invitation_is_mailed_and_only_its_digest_stored(
    client_of: ClientOf, manager: User, organization: Organization
) -> None:
    answer = client_of(manager).post("/organization/members/invite/", {"email": "Ｎew@Example.jp", "role": "viewer"})
    assert (answer.status_code, answer["Location"]) == (302, "/organization/members/")
    row = Invitation.objects.get()
    assert (row.email, row.role, row.project, row.invited_by) == ("new@example.jp", "viewer", None, manager)
    assert mail.outbox[0].to == ["new@example.jp"]
    token = link_in(mail.outbox[0]).split("/")[2]
    assert token not in str(Invitation.objects.values().get())
    assert invitations.find(token) == row
    assert (row.expires_at - timezone.now()).days == 6
    assert list(AuditEvent.objects.values_list("act", flat=True)) == ["invitation.sent"]


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({}, {"email", "role"}),
        ({"email": "no address", "role": "member"}, {"email"}),
        ({"email": "a" * 250 + "@example.jp", "role": "member"}, {"email"}),
        ({"email": "x@example.jp", "role": "owner"}, {"role"}),  # a manager invites
        ({"email": "x@example.jp", "role": "god"}, {"role"}),
        ({"email": "x@example.jp", "role": "member", "place": "p-ffffffff"}, {"place"}),
        ({"email": "x@example.jp\nBcc: y@example.jp", "role": "member"}, {"email"}),
        ({"email": "x\x00@example.jp", "role": "member"}, {"email"}),
        ({"email": "owner@example.jp", "role": "member"}, {"__all__"}),  # is there already
    ],
)
def test_bad_invitations_get_sentences(
    client_of: ClientOf, manager: User, owner: User, values: dict[str, str], wrong: set[str]
) -> None:
    answer = client_of(manager).post("/organization/members/invite/", values)
    assert (answer.status_code, set(answer.context["form"].errors)) == (422, wrong)
    assert (Invitation.objects.count(), len(mail.outbox)) == (0, 0)


def test_other_tenants_project_is_no_place(client_of: ClientOf, manager: User, stranger: User) -> None:
    foreign = Project.objects.get(organization__memberships__user=stranger)
    answer = client_of(manager).post(
        "/organization/members/invite/", {"email": "x@example.jp", "role": "member", "place": foreign.code}
    )
    assert (answer.status_code, Invitation.objects.count()) == (422, 0)


@pytest.mark.parametrize("role", ["member", "viewer", "billing"])
def test_only_managers_invite(request: pytest.FixtureRequest, client_of: ClientOf, role: str) -> None:
    client = client_of(request.getfixturevalue(role))
    assert client.get("/organization/members/invite/").status_code == 403
    assert client.post("/organization/members/invite/", {"email": "x@example.jp", "role": "viewer"}).status_code == 403
    assert not Invitation.objects.exists()


def test_second_open_invitation_for_one_address_is_refused(invited: tuple[Invitation, str], manager: User) -> None:
    with pytest.raises(invitations.AlreadyInvited):
        invitations.invite(invited[0].organization, email="new@example.jp", role="viewer", by=manager)


def test_mails_are_limited(client_of: ClientOf, manager: User) -> None:
    client = client_of(manager)
    codes = [
        client.post("/organization/members/invite/", {"email": f"x{n}@example.jp", "role": "viewer"}).status_code
        for n in range(31)
    ]
    assert codes == [302] * 30 + [429]
    assert len(mail.outbox) == 30


# --- accepting -------------------------------------------------------------------------------------------------------
def test_from_the_mail_through_sign_up_to_membership(db: None, invited: tuple[Invitation, str]) -> None:
    row, link = invited
    client = Client(headers={"accept-language": "ja"})
    page = client.get(link)
    assert page.status_code == 200
    signup = next(part for part in page.content.decode().split('"') if part.startswith("/account/signup/?"))
    assert client.get(signup.replace("&amp;", "&")).context["form"]["email"].value() == "new@example.jp"

    sign_up(client, "new@example.jp", next=link)
    answer = client.post(CODE, {"code": code_of(mail.outbox[-1])})
    assert answer["Location"] == link
    assert client.post(link, {}).status_code == 422  # the name is still to be given
    answer = client.post(link, {"given_name": "Aiko"})

    assert (answer.status_code, answer["Location"]) == (302, "/")
    joined = Membership.objects.get(user__email="new@example.jp")
    assert (joined.organization, joined.project, joined.role, str(joined.user)) == (
        row.organization,
        None,
        "member",
        "Aiko",
    )
    assert client.get("/organization/members/").status_code == 200


def test_project_invitation_opens_that_project_alone(
    organization: Organization, project: Project, owner: User, client_of: ClientOf
) -> None:
    other = ProjectFactory(organization=organization)
    guest = UserFactory(email="guest@example.jp")
    _row, token = invitations.invite(organization, project=project, email=guest.email, role="viewer", by=owner)
    client_of(guest).post(f"/invitations/{token}/")
    guest = User.objects.get(pk=guest.pk)
    assert list(Project.objects.visible_to(guest)) == [project]
    assert other.pk


MISUSE = {
    "used": lambda row, by: invitations.accept(row, by=UserFactory(email="new@example.jp")),
    "withdrawn": lambda row, by: invitations.withdraw(row, by=by),
    "expired": lambda row, by: Invitation.objects.filter(pk=row.pk).update(expires_at=timezone.now()),
    "inviter removed": lambda row, by: Membership.objects.filter(user=by).delete(),
    "inviter demoted": lambda row, by: Membership.objects.filter(user=by).update(role=Role.MEMBER),
}


@pytest.mark.parametrize("misuse", MISUSE)
def test_dead_invitations_say_why_and_do_nothing(
    misuse: str, invited: tuple[Invitation, str], manager: User, client_of: ClientOf
) -> None:
    row, link = invited
    MISUSE[misuse](row, manager)
    person = User.objects.filter(email="new@example.jp").first() or UserFactory(email="new@example.jp")
    before = Membership.objects.count()
    for client in (client_of(person), Client()):
        for answer in (client.get(link), client.post(link)):
            assert answer.status_code == 410
            assert answer.context["reason"]
    assert Membership.objects.count() == before


def test_reasons_differ() -> None:
    assert len({str(kind()) for kind in (invitations.Used, invitations.Withdrawn, invitations.Expired)}) == 3


def test_invitation_for_another_address_is_not_accepted(
    invited: tuple[Invitation, str], stranger: User, client_of: ClientOf
) -> None:
    client = client_of(stranger)
    assert (client.get(invited[1]).status_code, client.post(invited[1]).status_code) == (200, 422)
    assert Membership.objects.filter(user=stranger).count() == 1
    assert Invitation.objects.get().accepted_at is None


def test_unverified_address_is_not_enough(invited: tuple[Invitation, str]) -> None:
    user = UserFactory(email="new@example.jp")
    user.emailaddress_set.update(verified=False)
    with pytest.raises(invitations.ForAnotherAddress):
        invitations.accept(invited[0], by=user)


def test_unknown_and_hostile_tokens_are_not_found(db: None) -> None:
    for token in ("x", "a" * 500, "%00", "..%2f..", "<script>"):
        assert Client().get(f"/invitations/{token}/").status_code == 404


def test_sending_again_ends_the_old_link(invited: tuple[Invitation, str], manager: User, client_of: ClientOf) -> None:
    row, old = invited
    with time_machine.travel(timezone.now() + timedelta(days=6)):
        answer = client_of(manager).post(f"/organization/invitations/{row.pk}/resend/")
    assert answer.status_code == 302
    new = link_in(mail.outbox[0])
    assert (Client().get(old).status_code, Client().get(new).status_code) == (404, 200)
    row.refresh_from_db()
    assert (row.expires_at - timezone.now()).days == 12


def test_strangers_cannot_withdraw_or_resend(
    invited: tuple[Invitation, str], stranger: User, member: User, client_of: ClientOf
) -> None:
    pk = invited[0].pk
    for user in (stranger, member):
        for act in ("revoke", "resend"):
            assert client_of(user).post(f"/organization/invitations/{pk}/{act}/").status_code == 404
    assert Invitation.objects.get().is_open


def test_withdraw_by_page(invited: tuple[Invitation, str], manager: User, client_of: ClientOf) -> None:
    assert client_of(manager).post(f"/organization/invitations/{invited[0].pk}/revoke/").status_code == 302
    assert not Invitation.objects.get().is_open


def test_member_cannot_invite_past_the_view(organization: Organization, member: User, manager: User) -> None:
    with pytest.raises(NotPermitted):
        invitations.invite(organization, email="x@example.jp", role="viewer", by=member)
    with pytest.raises(membership.AboveOwnRole):
        invitations.invite(organization, email="x@example.jp", role="owner", by=manager)
    with pytest.raises(membership.OwnerOfProject):
        invitations.invite(
            organization,
            project=ProjectFactory(organization=organization),
            email="x@example.jp",
            role="owner",
            by=MembershipFactory(organization=organization, role=Role.OWNER).user,
        )


def test_mail_server_away_keeps_the_invitation(
    client_of: ClientOf, manager: User, monkeypatch: pytest.MonkeyPatch, settings: object
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"  # type: ignore[attr-defined]
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9  # type: ignore[attr-defined]
    answer = client_of(manager).post(
        "/organization/members/invite/", {"email": "x@example.jp", "role": "viewer"}, follow=True
    )
    assert [m.level_tag for m in answer.context["messages"]] == ["error"]
    assert Invitation.objects.get().is_open
