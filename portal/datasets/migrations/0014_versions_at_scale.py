from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

# A row at a time: a join of two transition tables of a million rows each never ends.
MEMBERS = """
DROP TRIGGER datasets_members_are_fixed ON datasets_datafile;
CREATE OR REPLACE FUNCTION datasets_keep_members() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    from_number integer := least(
        CASE WHEN OLD.added_in IS NULL THEN NEW.added_in END,
        CASE WHEN OLD.removed_in IS DISTINCT FROM NEW.removed_in THEN least(OLD.removed_in, NEW.removed_in) END
    );
BEGIN
    IF EXISTS (
        SELECT FROM datasets_datasetversion
        WHERE dataset_id = NEW.dataset_id AND number >= from_number AND state <> 'making'
    ) THEN
        RAISE EXCEPTION 'a ready version would change: % refused', TG_OP USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER datasets_members_are_fixed BEFORE UPDATE ON datasets_datafile
    FOR EACH ROW WHEN (OLD.added_in IS DISTINCT FROM NEW.added_in OR OLD.removed_in IS DISTINCT FROM NEW.removed_in)
    EXECUTE FUNCTION datasets_keep_members();
"""


class Migration(migrations.Migration):
    atomic = False

    dependencies = [('datasets', '0013_expiry')]

    operations = [
        migrations.RunSQL(MEMBERS, migrations.RunSQL.noop),
        AddIndexConcurrently(
            'dataset',
            models.Index(condition=models.Q(('latest_number__gt', 0)), fields=['project', '-id'], name='dataset_with_versions'),
        ),
        AddIndexConcurrently(
            'datafile',
            models.Index(condition=models.Q(('added_in__isnull', False)), fields=['dataset', 'added_in'], name='file_added_in'),
        ),
    ]
