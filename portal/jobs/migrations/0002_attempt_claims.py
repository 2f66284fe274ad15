from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    """Which copy of an attempt may run. Nothing is rewritten or read through; 0003 checks the old rows."""

    dependencies = [('jobs', '0001_initial')]

    operations = [
        migrations.AddField(
            model_name='attempt',
            name='claimed_by',
            field=models.CharField(blank=True, db_default='', default='', max_length=64),
        ),
        migrations.AddField(
            model_name='attempt',
            name='claimed_remote_id',
            field=models.CharField(blank=True, db_default='', default='', max_length=100),
        ),
        migrations.AddField(
            model_name='attempt',
            name='claimed_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        AddConstraintNotValid(
            model_name='attempt',
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ('remote_id', ''), ('claimed_remote_id', ''), ('remote_id', models.F('claimed_remote_id')), _connector='OR'
                ),
                name='claimed_by_the_job_adopted',
            ),
        ),
    ]
