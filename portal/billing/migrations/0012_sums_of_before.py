from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

# Charges of the release before that are written after this has read them are missing in the sums: `manage.py
# verify_ledger` tells, `manage.py recount_charges` counts anew.
MONTHLY = """
INSERT INTO billing_monthlycharge (organization_id, month, project_id, provider_id, offering_id, amount, gpu_seconds)
SELECT c.organization_id, date_trunc('month', c.day)::date, c.project_id, c.provider_id, c.offering_id,
    sum(c.amount), sum(coalesce(r.gpu_seconds, 0))
FROM billing_charge c LEFT JOIN usage_usagerecord r ON r.id = c.record_id
GROUP BY 1, 2, 3, 4, 5 ON CONFLICT DO NOTHING
"""
PEOPLE = """
INSERT INTO billing_personcharge (organization_id, month, project_id, user_id, amount, gpu_seconds)
SELECT c.organization_id, date_trunc('month', c.day)::date, c.project_id, r.user_id,
    sum(c.amount), sum(r.gpu_seconds)
FROM billing_charge c JOIN usage_usagerecord r ON r.id = c.record_id
GROUP BY 1, 2, 3, 4 ON CONFLICT DO NOTHING
"""
JOBS = """
UPDATE billing_jobcharge j SET user_id = r.user_id
FROM (SELECT DISTINCT ON (job_code) job_code, user_id FROM usage_usagerecord ORDER BY job_code, id) r
WHERE r.job_code = j.job_code AND j.user_id IS NULL
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("billing", "0011_sums_by_month_and_person"), ("usage", "0004_reports_and_corrections")]
    operations = [
        migrations.RunSQL(MONTHLY, migrations.RunSQL.noop),
        migrations.RunSQL(PEOPLE, migrations.RunSQL.noop),
        migrations.RunSQL(JOBS, migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="jobcharge",
            index=models.Index(fields=["project", "month", "-amount", "job_code"], name="job_charge_by_project"),
        ),
        AddIndexConcurrently(
            model_name="jobcharge",
            index=models.Index(fields=["user", "month", "-amount", "job_code"], name="job_charge_by_person"),
        ),
    ]
