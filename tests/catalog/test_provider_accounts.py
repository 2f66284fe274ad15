from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from portal.accounts.models import Organization
from portal.catalog.models import Offering, ProviderAccount
from portal.catalog.provider_accounts import account_for, adapter_of, note_failure, note_success
from portal.providers.errors import Misconfigured
from portal.providers.registry import close_all
from portal.providers.sakura_dok import SakuraDok
from tests.factories import OfferingFactory, OrganizationFactory, ProviderAccountFactory, ProviderFactory


@pytest.fixture
def offering(db: None) -> Offering:
    return OfferingFactory()


def test_an_organizations_own_account_goes_before_the_shared_one(offering: Offering) -> None:
    mine, other = OrganizationFactory(), OrganizationFactory()
    shared = ProviderAccountFactory(provider=offering.provider)
    own = ProviderAccountFactory(provider=offering.provider, organization=mine)
    assert [account_for(offering, organization=place) for place in (mine, other)] == [own, shared]


@pytest.mark.parametrize(
    "changes", [{"active": False}, {"kind": "slurm_ssh"}, {"provider": "kddi"}, {"organization": "another"}]
)
def test_an_account_that_does_not_run_it_is_none(
    offering: Offering, organization: Organization, changes: dict[str, Any]
) -> None:
    known = {"kddi": lambda: ProviderFactory(slug="kddi"), "another": OrganizationFactory}
    given = {name: known[value]() if value in known else value for name, value in changes.items()}
    ProviderAccountFactory(**{"provider": offering.provider, **given})
    assert account_for(offering, organization=organization) is None


def test_an_offering_that_nobody_runs_needs_no_question(
    offering: Offering, organization: Organization, django_assert_num_queries: Callable[..., Any]
) -> None:
    offering.adapter = ""
    ProviderAccountFactory(provider=offering.provider, kind="")
    with django_assert_num_queries(0):
        assert account_for(offering, organization=organization) is None


def test_production_never_hands_work_to_an_emulator(
    offering: Offering, organization: Organization, settings: Any
) -> None:
    account = ProviderAccountFactory(provider=offering.provider, emulated=True)
    found = [account_for(offering, organization=organization)]
    settings.PRODUCTION, settings.PORTAL_MODE = True, "production"
    found.append(account_for(offering, organization=organization))
    assert found == [account, None]
    with pytest.raises(Misconfigured):
        adapter_of(account)


def test_an_adapter_is_kept_until_the_account_changes(offering: Offering) -> None:
    account = ProviderAccountFactory(provider=offering.provider)
    first, same = adapter_of(account), adapter_of(ProviderAccount.objects.get())
    account.set_credentials({"token": "new", "secret": "new"})
    assert (type(first), first is same, adapter_of(account) is first) == (SakuraDok, True, False)
    close_all()


def health(account: ProviderAccount) -> tuple[bool, bool, str]:
    row = ProviderAccount.objects.get(pk=account.pk)
    return row.last_ok_at is not None, row.failing_since is not None, row.last_error


def test_failures_keep_their_beginning_and_one_success_ends_them(db: None) -> None:
    account = ProviderAccountFactory()
    note_failure(account.pk, "no connection")
    began = ProviderAccount.objects.get().failing_since
    note_failure(account.pk, "x" * 400)
    failing = ProviderAccount.objects.get()
    note_success(account.pk)
    assert (failing.failing_since, failing.last_error) == (began, "x" * 300)
    assert health(account) == (True, False, "")


def test_success_is_written_at_most_every_30_seconds(db: None) -> None:
    account = ProviderAccountFactory()
    times = [timezone.now() - timedelta(seconds=age) for age in (20, 31)]
    kept = []
    for at in times:
        ProviderAccount.objects.update(last_ok_at=at)
        note_success(account.pk)
        kept.append(ProviderAccount.objects.get().last_ok_at == at)
    assert kept == [True, False]
