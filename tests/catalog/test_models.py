from __future__ import annotations

import pytest
from django.db import IntegrityError
from django.utils import translation

from portal.catalog.models import Offering, ProviderAccount
from tests.factories import OrganizationFactory, ProviderAccountFactory, ProviderFactory, SiteFactory


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("ja", ["さくらインターネット", "さくら", "石狩データセンター", "北海道", "注記"]),
        ("en", ["SAKURA internet", "SAKURA", "Ishikari data center", "Hokkaido", "Note"]),
        ("en-gb", ["SAKURA internet", "SAKURA", "Ishikari data center", "Hokkaido", "Note"]),
        (None, ["さくらインターネット", "さくら", "石狩データセンター", "北海道", "注記"]),
    ],
)
def test_names_are_in_the_readers_language(language: str | None, said: list[str]) -> None:
    provider, site = ProviderFactory.build(), SiteFactory.build(provider=None)
    offering = Offering(note_ja="注記", note_en="Note")
    with translation.override(language):
        assert [str(provider), provider.short_name, site.name, site.prefecture, offering.note] == said


def test_an_offering_says_how_many_gpus_it_sells_at_once() -> None:
    cluster = Offering(gpus_min=4, gpus_max=12, gpus_step=4, gpus_per_node=8)
    assert [count for count in range(20) if cluster.allows_gpus(count)] == [4, 8, 12]
    assert [cluster.nodes_for(count) for count in (4, 8, 12)] == [1, 1, 2]


def test_an_accounts_credentials_are_sealed_and_in_no_name(db: None) -> None:
    account: ProviderAccount = ProviderAccountFactory()
    account.set_credentials({"token": "canary"})
    account.save()
    stored = ProviderAccount.objects.get()
    assert (stored.credentials(), str(stored)) == ({"token": "canary"}, f"sakura_dok #{stored.pk}")
    assert "canary" not in str(ProviderAccount.objects.values().get())


def test_there_is_one_shared_account_for_each_kind_of_a_provider(db: None) -> None:
    shared = ProviderAccountFactory()
    ProviderAccountFactory(provider=shared.provider, organization=OrganizationFactory())
    with pytest.raises(IntegrityError):
        ProviderAccountFactory(provider=shared.provider)
