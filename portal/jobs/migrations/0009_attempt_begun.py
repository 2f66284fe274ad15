from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the table grows: nobody waits while the index is made

    dependencies = [("jobs", "0008_sweeps")]

    operations = [
        AddIndexConcurrently(
            model_name="attempt",
            index=models.Index(
                fields=["offering", "created_at"],
                condition=models.Q(("started_at__isnull", False)),
                name="attempt_begun",
            ),
        ),
    ]
