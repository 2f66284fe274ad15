"""What jobs have used is added up by the database, whoever writes charges; those of before are added up here."""

from django.db import migrations

ADD = """
CREATE FUNCTION billing_add_to_job_use() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing_jobuse AS known (organization_id, job_code, price_id, gpus, seconds)
    SELECT record.organization_id, record.job_code, record.price_id, record.gpus, sum(record.seconds)
    FROM written JOIN usage_usagerecord record ON record.id = written.record_id
    GROUP BY record.organization_id, record.job_code, record.price_id, record.gpus
    ORDER BY record.job_code, record.price_id, record.gpus
    ON CONFLICT (job_code, price_id, gpus) DO UPDATE SET seconds = known.seconds + EXCLUDED.seconds;
    RETURN NULL;
END $$;
CREATE TRIGGER billing_add_to_job_use AFTER INSERT ON billing_charge
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION billing_add_to_job_use();
"""
UNDO = "DROP TRIGGER billing_add_to_job_use ON billing_charge; DROP FUNCTION billing_add_to_job_use();"
# The trigger keeps other writers out until this transaction ends: none is missed or counted twice.
FILL = """
INSERT INTO billing_jobuse (organization_id, job_code, price_id, gpus, seconds)
SELECT record.organization_id, record.job_code, record.price_id, record.gpus, sum(record.seconds)
FROM billing_charge charge JOIN usage_usagerecord record ON record.id = charge.record_id
GROUP BY record.organization_id, record.job_code, record.price_id, record.gpus
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0007_job_use"), ("usage", "0005_corrected_attempts")]
    operations = [migrations.RunSQL(ADD, UNDO), migrations.RunSQL(FILL, "DELETE FROM billing_jobuse")]
