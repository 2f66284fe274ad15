from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from portal.accounts.models import Organization
from portal.catalog.models import Offering, ProviderAccount
from portal.catalog.provider_accounts import account_for, adapter_of, note_failure, note_success, unless_paused
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


def may_call(account: ProviderAccount) -> bool:
    return unless_paused(account.pk) == account


def pause(account: ProviderAccount) -> float:
    """Seconds, by the database's clock; 0: none."""
    until = ProviderAccount.objects.get(pk=account.pk).paused_until
    return round((until - timezone.now()).total_seconds()) if until else 0


def test_the_third_failure_opens_the_circuit_and_each_further_one_for_longer(db: None) -> None:
    account = ProviderAccountFactory()
    seen = []
    for _ in range(7):
        note_failure(account.pk, "no connection")
        seen.append((may_call(account), pause(account)))
    assert seen == [(True, 0), (True, 0), (False, 5), (False, 10), (False, 20), (False, 30), (False, 30)]


def test_an_open_circuit_lets_a_trial_through_when_its_time_is_over(db: None) -> None:
    account = ProviderAccountFactory()
    for _ in range(3):
        note_failure(account.pk, "no connection")
    ProviderAccount.objects.update(paused_until=timezone.now() - timedelta(seconds=1))
    assert may_call(account) is True
    note_failure(account.pk, "no connection")
    assert (may_call(account), pause(account)) == (False, 10)
    note_success(account.pk)
    assert (may_call(account), ProviderAccount.objects.get().failures, pause(account)) == (True, 0, 0)


def test_when_the_circuit_was_closed_stays_known(db: None) -> None:
    account, ended = ProviderAccountFactory(), timezone.now() - timedelta(minutes=20)
    note_success(account.pk)
    assert ProviderAccount.objects.get().paused_until is None
    ProviderAccount.objects.update(paused_until=ended, failing_since=ended)
    note_success(account.pk)
    assert ProviderAccount.objects.get().paused_until == ended


def test_a_provider_that_asks_for_time_is_given_it_within_reason(db: None) -> None:
    account = ProviderAccountFactory()
    waits = []
    for asked in (90.0, 1e9):
        note_failure(account.pk, "slow down", wait_s=asked)
        waits.append((may_call(account), pause(account)))
    assert waits == [(False, 90), (False, 1800)]
