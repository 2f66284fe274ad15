"""A posting is written whole by one statement, and balanced then: asked once, not for each of its rows at commit. What
jobs have used is added up by keys, also where the session's plan was made while tables were small."""

from django.db import migrations

WHOLE = """
DROP TRIGGER billing_posting_balanced ON billing_ledgerentry;
CREATE OR REPLACE FUNCTION billing_posting_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE unbalanced uuid;
BEGIN
    SELECT posting INTO unbalanced FROM written GROUP BY posting HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'posting % does not add up to zero', unbalanced USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER billing_posting_balanced AFTER INSERT ON billing_ledgerentry
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION billing_posting_balanced();
"""
AT_COMMIT = """
DROP TRIGGER billing_posting_balanced ON billing_ledgerentry;
CREATE OR REPLACE FUNCTION billing_posting_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(amount) FROM billing_ledgerentry WHERE posting = NEW.posting) <> 0 THEN
        RAISE EXCEPTION 'posting % does not add up to zero', NEW.posting USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER billing_posting_balanced AFTER INSERT ON billing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_posting_balanced();
"""
BY_KEY = """
ALTER FUNCTION billing_add_to_job_use()
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0017_names_checked_by_statement")]
    operations = [
        migrations.RunSQL(WHOLE, AT_COMMIT),
        migrations.RunSQL(BY_KEY, "ALTER FUNCTION billing_add_to_job_use() RESET ALL"),
    ]
