import django.db.models.functions.comparison
import django.db.models.functions.text
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class _OnceConcurrently(migrations.SeparateDatabaseAndState):
    """A unique constraint with expressions or a condition is an index to PostgreSQL: it is built while rows are written."""

    def __init__(self, constraint, columns, condition):
        name = constraint.name
        super().__init__(
            database_operations=[
                migrations.RunSQL(
                    f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON datasets_datafile ({columns}) WHERE {condition}",
                    f"DROP INDEX CONCURRENTLY {name}",
                )
            ],
            state_operations=[migrations.AddConstraint('datafile', constraint)],
        )


class Migration(migrations.Migration):
    atomic = False

    dependencies = [('datasets', '0002_versions')]

    operations = [
        AddIndexConcurrently(
            'dataset',
            models.Index(condition=models.Q(('version_wanted_by__isnull', False)), fields=['id'], name='dataset_version_wanted'),
        ),
        AddIndexConcurrently(
            'datafile',
            models.Index(
                models.F('dataset'),
                django.db.models.functions.comparison.Collate(django.db.models.functions.text.Left('name', 255), 'C'),
                name='file_by_path',
            ),
        ),
        AddIndexConcurrently(
            'datafile',
            models.Index(condition=models.Q(('removed_in__isnull', True)), fields=['dataset', '-id'], name='file_of_draft'),
        ),
        AddIndexConcurrently(
            'datafile',
            models.Index(
                condition=models.Q(('state__in', ('uploading', 'verifying', 'failed', 'abandoned'))),
                fields=['dataset', '-id'],
                name='file_not_ready',
            ),
        ),
        AddIndexConcurrently(
            'datafile',
            models.Index(
                condition=models.Q(('added_in__isnull', True), ('removed_in__isnull', True), ('state', 'ready')),
                fields=['dataset', '-id'],
                name='file_in_no_version',
            ),
        ),
        AddIndexConcurrently(
            'datafile',
            models.Index(
                condition=models.Q(('removed_in__isnull', False)), fields=['dataset', 'removed_in'], name='file_removed_in'
            ),
        ),
        AddIndexConcurrently(
            'datafile',
            models.Index(condition=models.Q(('replaces__isnull', False)), fields=['replaces'], name='file_replaces'),
        ),
        _OnceConcurrently(
            models.UniqueConstraint(
                models.F('dataset'),
                django.db.models.functions.text.MD5('name'),
                condition=models.Q(('removed_in__isnull', True), ('state', 'ready')),
                name='file_name_once_per_draft',
            ),
            "dataset_id, md5(name)",
            "removed_in IS NULL AND state = 'ready'",
        ),
        _OnceConcurrently(
            models.UniqueConstraint(
                models.F('dataset'),
                django.db.models.functions.text.MD5('name'),
                condition=models.Q(('state__in', ('uploading', 'verifying'))),
                name='file_name_sent_once_at_a_time',
            ),
            "dataset_id, md5(name)",
            "state IN ('uploading', 'verifying')",
        ),
        migrations.RemoveConstraint('datafile', 'file_name_once_per_dataset'),
    ]
