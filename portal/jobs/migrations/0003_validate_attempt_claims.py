from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    """In a transaction of its own: rows are read under a lock that lets others write."""

    dependencies = [('jobs', '0002_attempt_claims')]

    operations = [ValidateConstraint(model_name='attempt', name='claimed_by_the_job_adopted')]
