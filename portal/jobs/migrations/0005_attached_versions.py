import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):
    """Nothing is rewritten, and rows are read while others are written."""

    atomic = False

    dependencies = [('jobs', '0004_alternatives_and_retries'), ('datasets', '0004_versions_of_old_files')]

    operations = [
        migrations.AddField(
            model_name='job',
            name='datasets',
            field=models.JSONField(db_default=models.Value([], models.JSONField()), default=list),
        ),
        migrations.AlterField(model_name='jobinput', name='path', field=models.CharField(max_length=1200)),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "CREATE UNIQUE INDEX CONCURRENTLY job_input_path_once_by_digest ON jobs_jobinput (job_id, md5(path))",
                    "DROP INDEX CONCURRENTLY job_input_path_once_by_digest",
                )
            ],
            state_operations=[
                migrations.AddConstraint(
                    'jobinput',
                    models.UniqueConstraint(
                        models.F('job'), django.db.models.functions.text.MD5('path'), name='job_input_path_once_by_digest'
                    ),
                )
            ],
        ),
        migrations.RemoveConstraint(model_name='jobinput', name='job_input_path_once'),
    ]
