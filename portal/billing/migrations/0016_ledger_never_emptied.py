from django.db import migrations

from portal.core.append_only import never_emptied


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_settlements")]
    operations = [never_emptied("billing_ledgerentry"), never_emptied("billing_charge")]
