from django.db import migrations

from portal.core.append_only import never_emptied


class Migration(migrations.Migration):
    dependencies = [("usage", "0007_names_checked_by_statement")]
    operations = [never_emptied("usage_storageday"), never_emptied("usage_refusedline")]
