from django.db import migrations

CHUNK = 5_000

# Every verified file there is belongs to version 1 of its dataset. Its manifest is written by the sweep.
STAMP = """
    UPDATE datasets_datafile SET added_in = 1
    WHERE id BETWEEN %s AND %s AND state = 'ready' AND added_in IS NULL
      AND dataset_id IN (SELECT id FROM datasets_dataset WHERE latest_number = 0)
"""
# The trigger has counted what happened since it was made: one statement sees that and the files at one moment.
COUNT = """
    WITH chosen AS (
        SELECT id FROM datasets_dataset WHERE id BETWEEN %s AND %s AND latest_number = 0
    ), earlier AS (
        DELETE FROM datasets_datasettally WHERE dataset_id IN (SELECT id FROM chosen)
    )
    INSERT INTO datasets_datasettally
        (dataset_id, is_sum, files, size_bytes, fresh, uploading, verifying, failed, changed_at)
    SELECT dataset_id, true,
        count(*) FILTER (WHERE state = 'ready'),
        coalesce(sum(size_bytes) FILTER (WHERE state = 'ready'), 0),
        count(*) FILTER (WHERE state = 'ready' AND added_in IS NULL),
        count(*) FILTER (WHERE state = 'uploading'),
        count(*) FILTER (WHERE state = 'verifying'),
        count(*) FILTER (WHERE state IN ('failed', 'abandoned')),
        max(ready_at)
    FROM datasets_datafile WHERE dataset_id IN (SELECT id FROM chosen) GROUP BY dataset_id
"""
MAKE = """
    WITH made AS (
        INSERT INTO datasets_datasetversion
            (dataset_id, number, state, file_count, size_bytes, manifest_sha256, manifest_key, note, created_by_id,
             created_at)
        SELECT d.id, 1, 'making', count(*), sum(f.size_bytes), '', '', '', d.created_by_id, now()
        FROM datasets_dataset d JOIN datasets_datafile f ON f.dataset_id = d.id AND f.added_in = 1
        WHERE d.id BETWEEN %s AND %s AND d.latest_number = 0
        GROUP BY d.id, d.created_by_id
        RETURNING dataset_id
    )
    UPDATE datasets_dataset SET latest_number = 1 WHERE id IN (SELECT dataset_id FROM made)
"""


def make_first_versions(apps, schema_editor):
    """A few thousand rows at a time, each in a transaction of its own: nobody waits long for any of them."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        for table, statements in (("datasets_datafile", (STAMP,)), ("datasets_dataset", (COUNT, MAKE))):
            cursor.execute(f"SELECT coalesce(max(id), 0) FROM {table}")
            (last,) = cursor.fetchone()
            for first in range(1, last + 1, CHUNK):
                for statement in statements:
                    cursor.execute(statement, [first, first + CHUNK - 1])


class Migration(migrations.Migration):
    atomic = False

    dependencies = [('datasets', '0003_versions_indexes')]

    operations = [migrations.RunPython(make_first_versions, migrations.RunPython.noop)]
