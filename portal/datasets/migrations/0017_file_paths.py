"""A longer limit is a note in the catalog: no row is written anew. PostgreSQL builds the indexes of expressions on the name
again, and wants the trigger that reads it out of the way for that moment."""

from django.db import migrations, models

FREE = "DROP TRIGGER datasets_file_is_fixed ON datasets_datafile;"
FIXED = """
CREATE TRIGGER datasets_file_is_fixed BEFORE UPDATE ON datasets_datafile
    FOR EACH ROW WHEN (OLD.added_in IS NOT NULL AND
        (OLD.dataset_id, OLD.name, OLD.size_bytes, OLD.sha256, OLD.storage_key, OLD.added_in)
        IS DISTINCT FROM
        (NEW.dataset_id, NEW.name, NEW.size_bytes, NEW.sha256, NEW.storage_key, NEW.added_in))
    EXECUTE FUNCTION datasets_keep_versions();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('datasets', '0016_kept_files'),
    ]

    operations = [
        migrations.RunSQL(FREE, FIXED),
        migrations.AlterField(
            model_name='datafile',
            name='name',
            field=models.CharField(max_length=1000),
        ),
        migrations.RunSQL(FIXED, FREE),
    ]
