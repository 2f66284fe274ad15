from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Jobs go on while it is built."""

    atomic = False

    dependencies = [
        ('jobs', '0011_placements'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='attempt',
            index=models.Index(fields=['offering', '-id'], name='attempt_by_offering'),
        ),
    ]
