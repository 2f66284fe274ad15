from django.db import migrations

from portal.core.append_only import never_emptied


class Migration(migrations.Migration):
    dependencies = [("datasets", "0018_places_of_jobs")]
    operations = [never_emptied("datasets_placeevent")]
