"""Saved views beside their pages: who counts while somebody else writes."""

from __future__ import annotations

import pytest

from portal.accounts.models import Organization, User
from portal.jobs.saved_views import MOST, NotSaved, rename, save, views_of
from tests.factories import MembershipFactory


def test_views_are_listed_by_name(member: User, organization: Organization) -> None:
    for name in ("b", "a", "c"):
        save(member, organization, name=name, query="state=failed")
    assert [view.name for view in views_of(member, organization)] == ["a", "b", "c"]


def test_the_limit_is_each_persons_and_each_organizations(member: User, organization: Organization) -> None:
    other = MembershipFactory(user=member).organization
    for n in range(MOST):
        save(member, organization, name=str(n), query="")
    with pytest.raises(NotSaved):
        save(member, organization, name="more", query="")
    assert save(member, other, name="0", query="").organization == other


def test_a_view_may_keep_its_own_name(member: User, organization: Organization) -> None:
    view = save(member, organization, name="same", query="")
    rename(view, name=" same ")
    assert [view.name for view in views_of(member, organization)] == ["same"]
