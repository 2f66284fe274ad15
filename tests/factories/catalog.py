from datetime import UTC, date, datetime
from decimal import Decimal

import factory
from factory.django import DjangoModelFactory

from portal.catalog.models import Offering, Price, Provider, ProviderAccount, Site


class ProviderFactory(DjangoModelFactory[Provider]):
    class Meta:
        model = Provider
        django_get_or_create = ("slug",)

    slug = "sakura"
    name_ja = factory.LazyAttribute(
        lambda o: {"sakura": "さくらインターネット", "highreso": "ハイレゾ"}.get(o.slug, "KDDI")
    )
    name_en = factory.LazyAttribute(lambda o: {"sakura": "SAKURA internet", "highreso": "HIGHRESO"}.get(o.slug, "KDDI"))
    short_ja = factory.LazyAttribute(lambda o: {"sakura": "さくら", "highreso": "ハイレゾ"}.get(o.slug, "KDDI"))
    short_en = factory.LazyAttribute(lambda o: {"sakura": "SAKURA", "highreso": "HIGHRESO"}.get(o.slug, "KDDI"))
    position = factory.LazyAttribute(lambda o: {"kddi": 0, "sakura": 1}.get(o.slug, 2))


class SiteFactory(DjangoModelFactory[Site]):
    class Meta:
        model = Site
        django_get_or_create = ("slug",)

    provider = factory.SubFactory(ProviderFactory)
    slug = "ishikari"
    name_ja, name_en = "石狩データセンター", "Ishikari data center"
    prefecture_ja, prefecture_en = "北海道", "Hokkaido"
    source, as_of, confirmed = "test", date(2026, 11, 1), True


class OfferingFactory(DjangoModelFactory[Offering]):
    class Meta:
        model = Offering

    slug = factory.Sequence(lambda n: f"offering-{n}")
    name_ja = factory.Sequence(lambda n: f"高火力 DOK H100 {n}")
    name_en = factory.Sequence(lambda n: f"Koukaryoku DOK H100 {n}")
    provider = factory.SubFactory(ProviderFactory)
    site = factory.SubFactory(SiteFactory, provider=factory.SelfAttribute("..provider"))
    kind = "job"
    gpu_model, gpu_memory_gb = "H100", 80
    architecture = "amd64"
    plan, adapter = "h100-80gb", "sakura_dok"
    source, as_of, confirmed = "test", date(2026, 11, 1), True
    contracting_member = factory.SelfAttribute("provider")
    service_member = factory.SelfAttribute("provider")
    host_member = factory.SelfAttribute("provider")


class PriceFactory(DjangoModelFactory[Price]):
    class Meta:
        model = Price

    offering = factory.SubFactory(OfferingFactory)
    unit, amount, per_gpu = "second", Decimal("0.28"), False
    minimum_s = 60
    valid_from = datetime(2026, 1, 1, tzinfo=UTC)
    source, as_of, confirmed = "test", date(2026, 11, 1), True


class ProviderAccountFactory(DjangoModelFactory[ProviderAccount]):
    class Meta:
        model = ProviderAccount

    provider = factory.SubFactory(ProviderFactory)
    kind = "sakura_dok"
    endpoint = "http://127.0.0.1:9"
    options = factory.LazyFunction(lambda: {"own_id": "true"})  # jobs know their id, as at the emulators

    @factory.lazy_attribute
    def sealed_credentials(self) -> str:
        from portal.core.sealing import seal

        return seal({"token": "canary-token", "secret": "canary-secret"})
