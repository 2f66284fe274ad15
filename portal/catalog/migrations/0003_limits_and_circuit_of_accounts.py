"""How many jobs an account runs at once, and the pause after repeated failures."""

from typing import Any

from django.db import migrations, models


def dok_runs_one_at_a_time(apps: Any, schema_editor: Any) -> None:
    """What the provider publishes, for accounts that were made before the portal kept the line."""
    apps.get_model("catalog", "ProviderAccount").objects.filter(kind="sakura_dok").update(concurrent_limit=1)


class Migration(migrations.Migration):
    dependencies = [("catalog", "0002_sources_that_can_be_translated")]
    operations = [
        migrations.AddField(
            "provideraccount", "concurrent_limit", models.PositiveSmallIntegerField(blank=True, null=True)
        ),
        migrations.AddField("provideraccount", "failures", models.PositiveSmallIntegerField(default=0)),
        migrations.AddField("provideraccount", "paused_until", models.DateTimeField(blank=True, null=True)),
        migrations.RunPython(dok_runs_one_at_a_time, migrations.RunPython.noop),
    ]
