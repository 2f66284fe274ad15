"""Where a price or a fact was read. Stored as the English text given here, and put into words when it is shown."""

from __future__ import annotations

from django.utils.translation import gettext, gettext_noop

DOK = gettext_noop("Koukaryoku DOK price page, read by third parties")
VRT = gettext_noop("Sakura Cloud price page, read by third parties")
PHY = gettext_noop("Koukaryoku PHY page and sacloud/phy-api-go, read by third parties")
KDDI = gettext_noop("biz.kddi.com/service/kddi-gpu-cloud, as cited by third parties")
SOROBAN = gettext_noop("soroban.highreso.jp/compute, read by a third party")
SOROBAN_CLUSTER = gettext_noop("Article in soroban.highreso.jp/article/c177")
SOROBAN_POINTS = gettext_noop("GPUSOROBAN point price, read by a third party")
AI_SUPERCOMPUTER = gettext_noop("soroban.highreso.jp, read by third parties")
SAKAI = gettext_noop("seczine.com/malware/2026/01 and biz.kddi.com/beconnected/feature/2026/260220")
ISHIKARI = gettext_noop("DOK API document 1.0.0 (zone is1a), by way of alaif-net/dok-api-cli")
KAGAWA = gettext_noop("Article in game.watch.impress.co.jp/docs/kikaku/1650087.html")
ALLIANCE = gettext_noop("The alliance's own decision")
DEMO = gettext_noop("Made up for the demo")
PROVIDER_API = gettext_noop("The provider's API, read by the portal")


def words(source: str) -> str:
    """In the reader's language; what somebody typed in themselves stays as it is."""
    return gettext(source) if source else ""
