from django.conf import settings
from django.db import migrations, transaction

_PROJECTS = """
SELECT DISTINCT d.project_id FROM datasets_dataset d
WHERE NOT EXISTS (SELECT 1 FROM datasets_storageallowance a WHERE a.project_id = d.project_id) ORDER BY 1
"""
_COUNT = """
INSERT INTO datasets_storageallowance (project_id, limit_bytes, used_bytes)
SELECT %(project)s, greatest(%(limit)s, kept.bytes), kept.bytes
FROM (SELECT coalesce(sum(CASE WHEN f.state = 'uploading' AND f.part_size_bytes = 0 THEN 100000000
                               ELSE f.size_bytes END), 0) AS bytes
      FROM datasets_datafile f JOIN datasets_dataset d ON d.id = f.dataset_id
      WHERE d.project_id = %(project)s AND f.state IN ('uploading', 'verifying', 'ready')) kept
ON CONFLICT (project_id) DO NOTHING
"""


def count(apps, schema_editor):
    """One project a transaction, reading only: uploads go on meanwhile. Cut off, it goes on where it was."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        cursor.execute(_PROJECTS)
        projects = [project for (project,) in cursor.fetchall()]
    for project in projects:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(_COUNT, {"project": project, "limit": settings.STORAGE_LIMIT_BYTES})


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("datasets", "0005_storage_allowance")]

    operations = [migrations.RunPython(count, migrations.RunPython.noop)]
