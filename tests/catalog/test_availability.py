"""What is said to be free, and to whom: by the account that runs an offering for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from portal.accounts.models import Organization, Project, User
from portal.catalog import tasks
from portal.catalog.availability import Standing, standings
from portal.catalog.models import CapacityObservation, Offering, ProviderAccount
from portal.catalog.provider_accounts import note_failure, note_success
from portal.jobs.offers import forget_offers
from tests.factories import OfferingFactory, OrganizationFactory, PriceFactory, ProviderAccountFactory

FREE = {"catalog": "空き8枚", "csv": ",空きあり,", "form": "空き8枚", "quote": "空き8枚"}


@pytest.fixture
def plan(db: None) -> Offering:
    offering = OfferingFactory(slug="plan")
    PriceFactory(offering=offering)
    CapacityObservation.objects.create(offering=offering, state="available", free_gpus=8, source="test")
    return offering


def _standing(plan: Offering, organization: Organization | None = None) -> Standing:
    return standings([plan], organization=organization, at=timezone.now())[plan.pk]


def test_what_was_seen_by_the_pool_is_live_as_long_as_its_account_answers(plan: Offering) -> None:
    account = ProviderAccountFactory(provider=plan.provider)
    seen = CapacityObservation.objects.get()
    assert _standing(plan) == Standing(account, seen)
    note_failure(account.pk, "no connection")
    assert (_standing(plan).seen, _standing(plan).answers) == (None, False)
    note_success(account.pk)
    assert (_standing(plan).seen, _standing(plan).answers) == (seen, True)
    CapacityObservation.objects.update(observed_at=timezone.now() - timedelta(minutes=6))
    assert (_standing(plan).seen, _standing(plan).answers) == (None, True)


def test_what_nobody_runs_has_nothing_free(plan: Offering) -> None:
    ProviderAccountFactory(provider=plan.provider, active=False)
    ProviderAccountFactory(provider=plan.provider, kind="slurm_ssh")
    assert _standing(plan) == Standing(None, None)


def test_an_account_of_an_emulator_runs_nothing_in_production(plan: Offering, settings) -> None:  # type: ignore[no-untyped-def]
    ProviderAccountFactory(provider=plan.provider, emulated=True)
    settings.PRODUCTION = True
    assert _standing(plan) == Standing(None, None)


def test_those_with_an_account_of_their_own_are_not_told_of_the_pools_machines_and_health(plan: Offering) -> None:
    pool = ProviderAccountFactory(provider=plan.provider)
    own = ProviderAccountFactory(provider=plan.provider, organization=OrganizationFactory())
    assert _standing(plan, own.organization) == Standing(own, None)
    assert _standing(plan, OrganizationFactory()) == Standing(pool, CapacityObservation.objects.get())
    note_failure(pool.pk, "no connection")
    assert (_standing(plan, own.organization).answers, _standing(plan).answers) == (True, False)
    note_success(pool.pk)
    note_failure(own.pk, "no connection")
    assert (_standing(plan, own.organization).answers, _standing(plan).answers) == (False, True)


def test_the_machines_of_an_organizations_own_account_are_not_looked_at_for_the_page(plan: Offering) -> None:
    own = ProviderAccountFactory(provider=plan.provider, organization=OrganizationFactory())
    tasks.observe_account(own.pk)
    own.refresh_from_db()
    assert (own.failures, own.last_ok_at) == (0, None)  # it was not called


def _pages(client: Client) -> dict[str, str]:
    """Each page that tells of the plan, asked afresh."""
    cache.clear()
    forget_offers()
    urls = {
        "catalog": "/catalog/", "csv": "/catalog/offers.csv", "form": "/jobs/new/",
        "quote": "/jobs/new/quote/?offering=plan&gpus=1&time_amount=1&time_unit=hours",
    }  # fmt: skip
    return {name: b"".join(client.get(url)).decode() for name, url in urls.items()}


def _live(client: Client) -> set[str]:
    """The pages that tell what is free."""
    return {name for name, page in _pages(client).items() if FREE[name] in page}


def test_no_page_shows_as_live_what_was_seen_before_the_provider_fell_silent(
    plan: Offering, member: User, project: Project, client_of: Callable[..., Client]
) -> None:
    account = ProviderAccountFactory(provider=plan.provider)
    client = client_of(member)
    assert _live(client) == {"catalog", "csv", "form", "quote"}
    for _ in range(3):
        note_failure(account.pk, "no connection")
    assert _live(client) == set()


def test_an_organization_with_its_own_account_sees_its_plans_and_not_the_pools_free_gpus(
    plan: Offering, project: Project, member: User, stranger: User, client_of: Callable[..., Client]
) -> None:
    pool = ProviderAccountFactory(provider=plan.provider)
    ProviderAccountFactory(provider=plan.provider, organization=project.organization)
    theirs, others = client_of(member), client_of(stranger)
    assert (_live(theirs), _live(others)) == (set(), set(FREE))
    ProviderAccount.objects.filter(pk=pool.pk).update(active=False)
    create = 'href="/jobs/new/?offering=plan'
    own_words = "貴組織のアカウントでの空き状況は確認していません"
    assert [(create in page, own_words in page) for page in (_pages(theirs)["catalog"], _pages(others)["catalog"])] == [
        (True, True),
        (False, False),
    ]


def test_what_an_organization_with_its_own_account_was_shown_is_not_kept_for_others(
    plan: Offering, organization: Organization, member: User, client: Client, client_of: Callable[..., Client]
) -> None:
    ProviderAccountFactory(provider=plan.provider, organization=organization)
    pages = [one.get("/catalog/").content.decode() for one in (client_of(member), client, client_of(member))]
    assert ['href="/jobs/new/?offering=plan' in page for page in pages] == [True, False, True]
