from django.db import migrations

from portal.core.append_only import append_only


class Migration(migrations.Migration):
    dependencies = [("usage", "0001_initial"), ("audit", "0002_append_only")]
    operations = [append_only("usage_usagerecord")]
