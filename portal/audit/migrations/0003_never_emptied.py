from django.db import migrations

from portal.core.append_only import never_emptied


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only")]
    operations = [never_emptied("audit_auditevent")]
