from django.db import migrations

from portal.core.append_only import append_only

# Asked once per posting at commit, when all its sides are there.
BALANCED = """
CREATE FUNCTION billing_posting_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(amount) FROM billing_ledgerentry WHERE posting = NEW.posting) <> 0 THEN
        RAISE EXCEPTION 'posting % does not add up to zero', NEW.posting USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER billing_posting_balanced AFTER INSERT ON billing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_posting_balanced();
"""
UNDO = "DROP TRIGGER billing_posting_balanced ON billing_ledgerentry; DROP FUNCTION billing_posting_balanced();"


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial"), ("usage", "0002_append_only")]
    operations = [
        append_only("billing_ledgerentry"),
        append_only("billing_charge"),
        migrations.RunSQL(BALANCED, UNDO),
    ]
