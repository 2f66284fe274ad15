from __future__ import annotations

import pytest
from django.utils import translation

from portal.accounts.access import NotPermitted
from portal.accounts.models import Project, User
from portal.audit.models import AuditEvent
from portal.datasets.keeping import KeepingRefused, keep_at
from portal.datasets.models import Dataset, Keeping, StorageSite
from tests.factories import DatasetFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset(project: Project) -> Dataset:
    return DatasetFactory(project=project)


def kept(dataset: Dataset) -> list[tuple[str, bool, bool]]:
    return list(Keeping.objects.filter(dataset=dataset).values_list("site__slug", "ending", "planned"))


def test_a_wish_begins_ends_and_begins_again(dataset: Dataset, member: User, second_site: StorageSite) -> None:
    wishes = [["second"], ["second"], [], [], ["second"]]
    told = [(keep_at(dataset, wish, by=member), kept(dataset)) for wish in wishes]
    begun, ending = [("second", False, False)], [("second", True, False)]
    assert told == [(True, begun), (False, begun), (True, ending), (False, ending), (True, begun)]
    acts = AuditEvent.objects.filter(act="dataset.kept_at").order_by("pk").values_list("actor", "detail")
    sites = [{"sites": ["second"]}, {"sites": []}, {"sites": ["second"]}]
    assert list(acts) == [(f"user:{member.pk}", detail) for detail in sites]


def test_only_sites_that_there_are_can_be_chosen(dataset: Dataset, member: User, second_site: StorageSite) -> None:
    StorageSite.objects.filter(pk=second_site.pk).update(enabled=False)
    for slug in ("primary", "elsewhere", "second"):
        with pytest.raises(KeepingRefused) as refused, translation.override("en"):
            keep_at(dataset, [slug], by=member)
        assert refused.value.messages == [f"There is no storage site “{slug}”. Reload the page and choose again."]
    assert kept(dataset) == []


def test_what_is_kept_at_a_site_that_is_switched_off_stays(
    dataset: Dataset, member: User, second_site: StorageSite
) -> None:
    keep_at(dataset, ["second"], by=member)
    StorageSite.objects.filter(pk=second_site.pk).update(enabled=False)
    assert (keep_at(dataset, [], by=member), kept(dataset)) == (False, [("second", False, False)])


def test_who_may_only_look_changes_nothing(dataset: Dataset, viewer: User, second_site: StorageSite) -> None:
    with pytest.raises(NotPermitted):
        keep_at(dataset, ["second"], by=viewer)
    assert kept(dataset) == []
