"""Sources as portal/catalog/sources.py words them: what the seed and the sync had stored in other words."""

from typing import Any

from django.db import migrations

NOW = {
    "koukaryoku DOK price page, read by third parties": "Koukaryoku DOK price page, read by third parties",
    "sacloud/phy-api-go; koukaryoku PHY page, read by third parties": (
        "Koukaryoku PHY page and sacloud/phy-api-go, read by third parties"
    ),
    "biz.kddi.com/service/kddi-gpu-cloud (as cited by third parties)": (
        "biz.kddi.com/service/kddi-gpu-cloud, as cited by third parties"
    ),
    "soroban.highreso.jp/article/c177": "Article in soroban.highreso.jp/article/c177",
    "seczine.com/malware/2026/01; biz.kddi.com/beconnected/feature/2026/260220": (
        "seczine.com/malware/2026/01 and biz.kddi.com/beconnected/feature/2026/260220"
    ),
    "alaif-net/dok-api-cli (DOK API document 1.0.0: zone is1a)": (
        "DOK API document 1.0.0 (zone is1a), by way of alaif-net/dok-api-cli"
    ),
    "game.watch.impress.co.jp/docs/kikaku/1650087.html": "Article in game.watch.impress.co.jp/docs/kikaku/1650087.html",
    "デモ用の仮の値 (made up for the demo)": "Made up for the demo",
    "sakura_dok API": "The provider's API, read by the portal",
}


def reword(apps: Any, schema_editor: Any) -> None:
    for model in ("Site", "Offering", "Price"):
        for before, after in NOW.items():
            apps.get_model("catalog", model).objects.filter(source=before).update(source=after)


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]
    operations = [migrations.RunPython(reword, migrations.RunPython.noop)]
