import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from portal.accounts import membership
from portal.accounts.access import NotPermitted
from portal.accounts.models import Membership, Organization, Project, User
from portal.accounts.roles import Role
from portal.audit.models import AuditEvent
from portal.audit.verification import verify as verify_audit
from tests.factories import MembershipFactory, ProjectFactory, UserFactory

OWN, M, E, V, B = Role.OWNER, Role.MANAGER, Role.MEMBER, Role.VIEWER, Role.BILLING


def acts() -> list[str]:
    return list(AuditEvent.objects.order_by("pk").values_list("act", flat=True))


def of(user: User) -> Membership:
    return Membership.objects.get(user=user)


# --- founding --------------------------------------------------------------------------------------------------------
def test_founding_twice_is_refused(db: None) -> None:
    user = UserFactory(language="en")
    made = membership.found_organization(user, name="Mirai Inc.", kind="startup")
    with pytest.raises(membership.AlreadyMember):
        membership.found_organization(user, name="Second Inc.", kind="startup")
    assert list(Organization.objects.all()) == [made]
    assert [(p.name, p.code.isascii()) for p in Project.objects.all()] == [("First project", True)]
    assert acts() == ["organization.founded"]


# --- changing --------------------------------------------------------------------------------------------------------
def test_manager_changes_a_member_and_it_is_audited(manager: User, member: User) -> None:
    until = timezone.now() + timedelta(days=3)
    membership.change_member(of(member), role=V, expires_at=until, by=manager)
    assert (of(member).role, of(member).expires_at) == (V, until)
    event = AuditEvent.objects.get()
    assert (event.act, event.actor, event.subject, event.chain) == (
        "member.changed",
        f"user:{manager.pk}",
        f"user:{member.pk}",
        of(member).organization.code,
    )
    assert (event.detail["before"]["role"], event.detail["after"]["role"]) == ("member", "viewer")
    assert list(verify_audit()) == []


@pytest.mark.parametrize(
    ("actor", "target", "role", "error"),
    [
        ("manager", "member", OWN, membership.AboveOwnRole),
        ("manager", "owner", V, membership.AboveOwnRole),
        ("member", "viewer", V, NotPermitted),
        ("billing", "viewer", E, NotPermitted),
        ("stranger", "member", V, NotPermitted),
        ("owner", "owner", M, membership.LastOwner),
        ("manager", "manager", OWN, membership.AboveOwnRole),
    ],
)
def test_refused_changes_change_nothing(
    request: pytest.FixtureRequest, actor: str, target: str, role: Role, error: type[Exception]
) -> None:
    by, row = request.getfixturevalue(actor), of(request.getfixturevalue(target))
    request.getfixturevalue("owner")
    with pytest.raises(error):
        membership.change_member(row, role=role, expires_at=None, by=by)
    assert (of(row.user).role, acts()) == (row.role, [])


def test_an_owner_has_no_last_day(owner: User, member: User) -> None:
    with pytest.raises(membership.OwnerHasNoLastDay):
        membership.change_member(of(member), role=OWN, expires_at=timezone.now() + timedelta(days=1), by=owner)
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.filter(user=owner).update(expires_at=timezone.now())


def test_project_manager_manages_that_project_alone(organization: Organization, project: Project, member: User) -> None:
    lead = MembershipFactory(organization=organization, project=project, role=M).user
    inside = MembershipFactory(organization=organization, project=project, role=E)
    elsewhere = MembershipFactory(organization=organization, project=ProjectFactory(organization=organization), role=E)
    membership.change_member(inside, role=V, expires_at=None, by=lead)
    for row in (elsewhere, of(member)):
        with pytest.raises(NotPermitted):
            membership.change_member(row, role=V, expires_at=None, by=lead)
    with pytest.raises(membership.AboveOwnRole):
        membership.change_member(inside, role=OWN, expires_at=None, by=lead)


def test_ended_manager_can_no_longer_act(manager: User, member: User) -> None:
    Membership.objects.filter(user=manager).update(expires_at=timezone.now())
    with pytest.raises(NotPermitted):
        membership.remove_member(of(member), by=manager)


def test_last_owner_counts_only_those_who_can_act(owner: User, organization: Organization) -> None:
    MembershipFactory(organization=organization, role=OWN, user__is_active=False)
    with pytest.raises(membership.LastOwner):
        membership.leave(organization, by=owner)


# --- leaving, handing over -------------------------------------------------------------------------------------------
def test_leave_ends_project_roles_too(organization: Organization, project: Project, member: User, owner: User) -> None:
    MembershipFactory(organization=organization, project=project, user=member, role=M)
    membership.leave(organization, by=member)
    assert not Membership.objects.filter(user=member).exists()
    assert acts() == ["member.left", "member.left"]


def test_last_owner_hands_over_then_leaves(organization: Organization, owner: User, member: User) -> None:
    with pytest.raises(membership.LastOwner):
        membership.leave(organization, by=owner)
    membership.hand_over(organization, to=member, by=owner)
    assert (of(member).role, of(owner).role) == (OWN, M)
    membership.leave(organization, by=owner)
    assert acts() == ["organization.handed_over", "member.left"]


def test_hand_over_needs_an_owner_and_a_member(
    organization: Organization, owner: User, manager: User, stranger: User
) -> None:
    with pytest.raises(NotPermitted):
        membership.hand_over(organization, to=manager, by=manager)
    for to in (stranger, owner):
        with pytest.raises(membership.NotAMember):
            membership.hand_over(organization, to=to, by=owner)
    assert of(owner).role == OWN


@pytest.mark.django_db(transaction=True)
def test_two_owners_leaving_at_once_leave_one_behind() -> None:
    first = MembershipFactory(role=OWN)
    second = MembershipFactory(role=OWN, organization=first.organization)
    start, refused = threading.Barrier(2), []

    def go(user: User) -> None:
        try:
            start.wait(10)
            membership.leave(first.organization, by=user)
        except membership.LastOwner:
            refused.append(user)
        finally:
            connection.close()

    people = [threading.Thread(target=go, args=(m.user,)) for m in (first, second)]
    for person in people:
        person.start()
    for person in people:
        person.join(20)
    assert (len(refused), Membership.objects.filter(role=OWN).count()) == (1, 1)
