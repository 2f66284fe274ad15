"""What is asked of a place is asked at submit and again before a job moves there; submission's tests have the rest."""

from __future__ import annotations

import pytest
from django.utils import timezone

from portal.accounts.models import Project
from portal.catalog.models import Offering, ProviderAccount
from portal.jobs.places import Refused, place_at


def test_a_place_is_a_price_and_an_account_as_they_are_now(
    project: Project, offering: Offering, account: ProviderAccount, request_for
) -> None:
    place = place_at(project, request_for(), offering, now=timezone.now())
    assert (place.offering, place.account, place.price) == (offering, account, offering.prices.get())
    assert place.snapshot()["price"] == {
        "unit": "second", "amount": "0.280000", "per_gpu": False, "tax_included": True, "tax_percent": "10.0",
        "minimum_s": 60,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"active": False}, "offering"),
        ({"on_request": True}, "offering"),
        ({"gpus_min": 2, "gpus_max": 2}, "gpus"),
        ({"time_limit_max_s": 60}, "time_limit"),
        ({"containers": True}, "image"),
    ],
)
def test_an_offering_that_cannot_take_the_job_says_about_what(
    project: Project, offering: Offering, account: ProviderAccount, request_for, change: dict[str, object], field: str
) -> None:
    Offering.objects.update(**change)
    with pytest.raises(Refused) as refused:
        place_at(project, request_for(), Offering.objects.get(), now=timezone.now())
    assert refused.value.field == field


def test_nobody_runs_it_so_it_takes_no_job(project: Project, offering: Offering, request_for) -> None:
    with pytest.raises(Refused) as refused:
        place_at(project, request_for(), offering, now=timezone.now())
    assert refused.value.field == "offering"
