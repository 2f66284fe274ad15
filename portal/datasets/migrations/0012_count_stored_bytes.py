from urllib.parse import urlsplit

from django.conf import settings
from django.db import migrations

_COUNT = """
INSERT INTO datasets_storedbytes (project_id, site, day, peak_bytes, closing_bytes)
SELECT d.project_id, %(site)s, (now() AT TIME ZONE 'Asia/Tokyo')::date, sum(f.size_bytes), sum(f.size_bytes)
FROM datasets_datafile f JOIN datasets_dataset d ON d.id = f.dataset_id
WHERE f.state IN ('verifying', 'ready') GROUP BY d.project_id
ON CONFLICT (project_id, site, day) DO NOTHING
"""


def count(apps, schema_editor):
    """What is there already is metered from today on. Reads only: uploads go on meanwhile."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_COUNT, {"site": urlsplit(settings.S3_ENDPOINT).hostname or ""})


class Migration(migrations.Migration):
    dependencies = [("datasets", "0011_stored_bytes")]

    operations = [migrations.RunPython(count, migrations.RunPython.noop)]
