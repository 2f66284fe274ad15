"""Only a column more that may be empty: no row is written anew, and the column of another name stays as it is called."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('datasets', '0017_file_paths'),
    ]

    operations = [
        migrations.AddField(
            model_name='leftover',
            name='arrival',
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name='placeevent',
            name='dataset_code',
            field=models.CharField(db_column='dataset_code', max_length=20),
        ),
        migrations.RenameField(
            model_name='placeevent',
            old_name='dataset_code',
            new_name='subject_code',
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveIndex(model_name='placeevent', name='place_by_dataset'),
                migrations.AddIndex(
                    model_name='placeevent',
                    index=models.Index(fields=['subject_code', 'file_code', 'id'], name='place_by_dataset'),
                ),
            ]
        ),
        migrations.AlterField(
            model_name='placeevent',
            name='sha256',
            field=models.CharField(blank=True, max_length=64),
        ),
    ]
