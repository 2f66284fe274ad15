import pytest

from portal.accounts.roles import MATRIX, Permission, Role, covers, may, may_give

OWN, M, E, V, B = Role.OWNER, Role.MANAGER, Role.MEMBER, Role.VIEWER, Role.BILLING


def test_matrix_is_the_one_in_the_brief() -> None:
    money, view = {Permission.VIEW_MONEY, Permission.MANAGE_MONEY}, {Permission.VIEW, Permission.VIEW_MONEY}
    work = view | {Permission.SUBMIT, Permission.UPLOAD}
    manage = {Permission.STOP_ANY, Permission.MANAGE_PROJECTS, Permission.MANAGE_MEMBERS, Permission.MANAGE_MONEY}
    expected = {
        OWN: work | manage | {Permission.MANAGE_ORGANIZATION},
        M: work | manage,
        E: work,
        V: view,
        B: money,
    }
    assert expected == MATRIX


@pytest.mark.parametrize(
    ("own", "given"),
    [(OWN, {OWN, M, E, V, B}), (M, {M, E, V, B}), (E, set()), (V, set()), (B, set()), (None, set())],
)
def test_nobody_gives_a_role_above_their_own(own: Role | None, given: set[Role]) -> None:
    assert {role for role in Role if may_give(own, role)} == given


def test_billing_and_member_do_not_cover_each_other() -> None:
    assert (covers(E, B), covers(B, E), covers(E, V), covers(OWN, B)) == (False, False, True, True)


def test_nobody_without_a_role_may_anything() -> None:
    assert [permission for permission in Permission if may(None, permission)] == []


def test_a_role_that_does_not_exist_is_an_error_and_no_permission() -> None:
    with pytest.raises(ValueError):
        may("root", Permission.VIEW)
