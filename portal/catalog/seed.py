"""The catalog as PROVIDERS.md section 9 knows it: every fact with its source and date, unconfirmed ones marked so.

`load` may run at every start: it adds what is missing and never edits a price (a changed one ends the old row).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from portal.catalog import sources
from portal.catalog.models import Offering, OfferingKind, Price, PriceUnit, Provider, Site, StoragePrice

PROVIDERS: dict[str, dict[str, Any]] = {
    "kddi": {"name_ja": "KDDI", "name_en": "KDDI", "short_ja": "KDDI", "short_en": "KDDI", "position": 0},
    "sakura": {
        "name_ja": "さくらインターネット",
        "name_en": "SAKURA internet",
        "short_ja": "さくら",
        "short_en": "SAKURA",
        "position": 1,
    },
    "highreso": {
        "name_ja": "ハイレゾ",
        "name_en": "HIGHRESO",
        "short_ja": "ハイレゾ",
        "short_en": "HIGHRESO",
        "position": 2,
    },
}

SITES: dict[str, dict[str, Any]] = {
    "sakai": {
        "provider": "kddi",
        "name_ja": "大阪堺データセンター",
        "name_en": "Osaka Sakai Data Center",
        "prefecture_ja": "大阪府堺市",
        "prefecture_en": "Sakai, Osaka",
        "source": sources.SAKAI,
        "as_of": date(2026, 2, 20),
    },
    "ishikari": {
        "provider": "sakura",
        "name_ja": "石狩データセンター",
        "name_en": "Ishikari Data Center",
        "prefecture_ja": "北海道石狩市",
        "prefecture_en": "Ishikari, Hokkaido",
        "source": sources.ISHIKARI,
        "as_of": date(2026, 4, 22),
        "confirmed": True,
    },
    "kagawa": {
        "provider": "highreso",
        "name_ja": "香川のデータセンター",
        "name_en": "Data centers in Kagawa",
        "prefecture_ja": "香川県",
        "prefecture_en": "Kagawa",
        "source": sources.KAGAWA,
        "as_of": date(2026, 9, 24),
    },
}


@dataclass(frozen=True)
class SeedPrice:
    unit: PriceUnit
    amount: str
    per_gpu: bool
    as_of: date
    source: str
    minimum_s: int = 0
    valid_from: date = date(2025, 1, 1)


@dataclass(frozen=True)
class SeedOffering:
    slug: str
    provider: str
    name_ja: str
    name_en: str
    kind: OfferingKind
    gpu_model: str
    source: str
    as_of: date
    site: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    prices: tuple[SeedPrice, ...] = ()


OFFERINGS: tuple[SeedOffering, ...] = (
    SeedOffering(
        "dok-v100",
        "sakura",
        "高火力 DOK V100",
        "Koukaryoku DOK V100",
        OfferingKind.JOB,
        "V100",
        sources.DOK,
        date(2025, 11, 18),
        "ishikari",
        {
            "gpu_memory_gb": 32,
            "cpu_cores": 3,
            "memory_gb": 40,
            "plan": "v100-32gb",
            "adapter": "sakura_dok",
            "containers": True,
            "architecture": "amd64",
            "gpus_per_node": 1,
            "time_limit_max_s": 1_728_000,
            "ends_on": date(2027, 3, 31),
            "note_ja": "新しいジョブの受付は2027年2月28日まで",
            "note_en": "New jobs until 28 February 2027",
        },
        (SeedPrice(PriceUnit.SECOND, "0.016", False, date(2025, 11, 18), sources.DOK, 1),),
    ),
    SeedOffering(
        "dok-h100",
        "sakura",
        "高火力 DOK H100",
        "Koukaryoku DOK H100",
        OfferingKind.JOB,
        "H100",
        sources.DOK,
        date(2026, 10, 3),
        "ishikari",
        {
            "gpu_memory_gb": 80,
            "cpu_cores": 10,
            "memory_gb": 192,
            "disk_gb": 500,
            "plan": "h100-80gb",
            "adapter": "sakura_dok",
            "containers": True,
            "architecture": "amd64",
            "gpus_per_node": 1,
            "time_limit_max_s": 1_728_000,
        },
        (SeedPrice(PriceUnit.SECOND, "0.28", False, date(2026, 10, 3), sources.DOK, 60),),
    ),
    SeedOffering(
        "dok-h100x8",
        "sakura",
        "高火力 DOK H100×8（β）",
        "Koukaryoku DOK H100 ×8 (beta)",
        OfferingKind.JOB,
        "H100",
        sources.DOK,
        date(2026, 1, 13),
        "ishikari",
        {
            "gpu_memory_gb": 80,
            "cpu_cores": 160,
            "memory_gb": 1760,
            "disk_gb": 4000,
            "plan": "h100-8gpu-80gb",
            "adapter": "sakura_dok",
            "containers": True,
            "architecture": "amd64",
            "gpus_min": 8,
            "gpus_max": 8,
            "gpus_step": 8,
            "interconnect": "NVLink",
            "time_limit_max_s": 1_728_000,
        },
        (SeedPrice(PriceUnit.SECOND, "0.83", False, date(2026, 1, 13), sources.DOK, 60),),
    ),
    SeedOffering(
        "vrt-v100",
        "sakura",
        "高火力 VRT V100",
        "Koukaryoku VRT V100",
        OfferingKind.VM,
        "V100",
        sources.VRT,
        date(2026, 10, 1),
        "ishikari",
        {"gpu_memory_gb": 32, "cpu_cores": 4, "memory_gb": 56, "architecture": "amd64", "ends_on": date(2027, 3, 31)},
        (SeedPrice(PriceUnit.HOUR, "481", False, date(2026, 10, 1), sources.VRT),),
    ),
    SeedOffering(
        "vrt-h100",
        "sakura",
        "高火力 VRT H100",
        "Koukaryoku VRT H100",
        OfferingKind.VM,
        "H100",
        sources.VRT,
        date(2026, 10, 1),
        "ishikari",
        {
            "gpu_memory_gb": 80,
            "cpu_cores": 24,
            "memory_gb": 240,
            "architecture": "amd64",
            "best_of_units": True,
            "note_ja": "時間・日・月の安いほうで計算（10時間=1日、20日=1か月）",
            "note_en": "Cheapest of hour, day and month (10 hours = 1 day, 20 days = 1 month)",
        },
        (
            SeedPrice(PriceUnit.HOUR, "990", False, date(2026, 10, 1), sources.VRT),
            SeedPrice(PriceUnit.DAY, "23100", False, date(2026, 10, 1), sources.VRT),
            SeedPrice(PriceUnit.MONTH, "385000", False, date(2026, 10, 1), sources.VRT),
        ),
    ),
    *(
        SeedOffering(
            f"phy-{model.lower()}x8",
            "sakura",
            f"高火力 PHY {model}×8",
            f"Koukaryoku PHY {model} ×8",
            OfferingKind.BARE_METAL,
            model,
            sources.PHY,
            date(2026, 10, 1),
            "ishikari",
            {
                "gpu_memory_gb": memory,
                "gpus_min": 8,
                "gpus_max": 8,
                "gpus_step": 8,
                "architecture": "amd64",
                "on_request": True,
                "note_ja": "最低利用期間2か月",
                "note_en": "Two months at least",
            },
        )
        for model, memory in (("H100", 80), ("H200", 141), ("B200", 180))
    ),
    SeedOffering(
        "kddi-gb200",
        "kddi",
        "KDDI GPU Cloud GB200 NVL72",
        "KDDI GPU Cloud GB200 NVL72",
        OfferingKind.CONTRACT,
        "GB200",
        sources.KDDI,
        date(2026, 4, 1),
        "sakai",
        {
            "gpu_memory_gb": 186,
            "gpus_min": 4,
            "gpus_max": 72,
            "gpus_step": 4,
            "gpus_per_node": 4,
            "architecture": "arm64",
            "on_request": True,
            "interconnect": "NVLink 72",
            "note_ja": "料金と接続方式は要確認",
            "note_en": "Price and way of access to be confirmed",
        },
    ),
    SeedOffering(
        "soroban-cluster",
        "highreso",
        "GPUSOROBAN 計算クラスター",
        "GPUSOROBAN compute cluster",
        OfferingKind.JOB,
        "",
        sources.SOROBAN_CLUSTER,
        date(2026, 1, 1),
        "kagawa",
        {
            "gpus_max": 8,
            "plan": "gpu",
            "adapter": "slurm_ssh",
            "architecture": "amd64",
            "architecture_confirmed": False,
            "note_ja": "GPUの機種は公開資料に記載がありません",
            "note_en": "Public documents do not state the GPU model",
        },
        (SeedPrice(PriceUnit.MINUTE, "20", True, date(2026, 1, 1), sources.SOROBAN_POINTS),),
    ),
    *(
        SeedOffering(
            f"soroban-{slug}",
            "highreso",
            f"GPUSOROBAN インスタンス {model}",
            f"GPUSOROBAN instance {model}",
            OfferingKind.VM,
            model.split()[0],
            sources.SOROBAN,
            date(2026, 10, 1),
            "kagawa",
            {"gpu_memory_gb": memory, "architecture": "amd64", "architecture_confirmed": False},
            (
                SeedPrice(PriceUnit.HOUR, hour, True, date(2026, 10, 1), sources.SOROBAN),
                SeedPrice(PriceUnit.MONTH, month, True, date(2026, 10, 1), sources.SOROBAN),
            ),
        )
        for slug, model, memory, hour, month in (
            ("a4000", "A4000", 16, "50", "33000"),
            ("a100-40", "A100 40 GB", 40, "361", "223133"),
            ("a100-80", "A100 80 GB", 80, "398", "243631"),
        )
    ),
    SeedOffering(
        "ai-super-h200",
        "highreso",
        "AIスパコンクラウド H200×8",
        "AI Supercomputer Cloud H200 ×8",
        OfferingKind.NODE,
        "H200",
        sources.AI_SUPERCOMPUTER,
        date(2026, 10, 1),
        "kagawa",
        {
            "gpu_memory_gb": 141,
            "gpus_min": 8,
            "gpus_max": 8,
            "gpus_step": 8,
            "architecture": "amd64",
            "architecture_confirmed": False,
            "on_request": True,
            "note_ja": "2025年の公表額は月額¥2,783,000（税込）。現在は要問合せ",
            "note_en": "¥2,783,000 a month (tax included) in 2025; by inquiry now",
        },
    ),
)

# So that the demo can run work at all three: a price that nobody has published is marked as made up.
DEMO_OFFERINGS: tuple[SeedOffering, ...] = (
    SeedOffering(
        "demo-gb200",
        "kddi",
        "GB200 NVL72 ジョブ（デモ）",
        "GB200 NVL72 jobs (demo)",
        OfferingKind.JOB,
        "GB200",
        sources.DEMO,
        date(2026, 11, 23),
        "sakai",
        {
            "gpu_memory_gb": 186,
            "gpus_min": 4,
            "gpus_max": 72,
            "gpus_step": 4,
            "gpus_per_node": 4,
            "architecture": "arm64",
            "interconnect": "NVLink 72",
            "plan": "gb200",
            "adapter": "slurm_rest",
            "note_ja": "料金はデモ用の仮の値です。接続方式は要確認",
            "note_en": "Made-up price for the demo; way of access to be confirmed",
            "demo_only": True,
        },
        (SeedPrice(PriceUnit.SECOND, "0.30", True, date(2026, 11, 23), sources.DEMO),),
    ),
)


@transaction.atomic
def load(*, demo: bool) -> None:
    providers = {
        slug: Provider.objects.update_or_create(slug=slug, defaults=facts)[0] for slug, facts in PROVIDERS.items()
    }
    sites = {}
    for slug, facts in SITES.items():
        values = {**facts, "provider": providers[facts["provider"]]}
        sites[slug] = Site.objects.get_or_create(slug=slug, defaults=values)[0]
    for seed in (*OFFERINGS, *(DEMO_OFFERINGS if demo else ())):
        provider = providers[seed.provider]
        offering, _ = Offering.objects.get_or_create(
            slug=seed.slug,
            defaults={
                "provider": provider,
                "site": sites.get(seed.site),
                "name_ja": seed.name_ja,
                "name_en": seed.name_en,
                "kind": seed.kind,
                "gpu_model": seed.gpu_model,
                "source": seed.source,
                "as_of": seed.as_of,
                # One's own offering: sold, run and named by the same member. Resale sets them apart.
                "contracting_member": provider,
                "service_member": provider,
                "host_member": provider,
                **seed.facts,
            },
        )
        for price in seed.prices:
            _add_price(offering, price)
    if not StoragePrice.objects.exists():  # the first: later ones are dated rows of their own
        StoragePrice.objects.create(
            amount=0, valid_from=datetime(2025, 1, 1, tzinfo=UTC), source=sources.ALLIANCE, as_of=date(2026, 11, 30)
        )


def _add_price(offering: Offering, seed: SeedPrice) -> None:
    """Only where the offering has no price in this unit yet: later ones come from the provider or from staff."""
    if offering.prices.filter(unit=seed.unit).exists():
        return
    start = seed.valid_from
    Price.objects.create(
        offering=offering,
        unit=seed.unit,
        amount=Decimal(seed.amount),
        per_gpu=seed.per_gpu,
        minimum_s=seed.minimum_s,
        valid_from=datetime(start.year, start.month, start.day, tzinfo=UTC),
        source=seed.source,
        as_of=seed.as_of,
    )
