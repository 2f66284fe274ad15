import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

# One row of differences for each statement that changes files. `gone` counts what the newest version still has.
_SUMS = """
    INSERT INTO datasets_datasettally
        (dataset_id, files, size_bytes, fresh, replaced, gone, uploading, verifying, failed, changed_at)
    SELECT * FROM (
        SELECT c.dataset_id,
            sum(sign * (draft AND ready)::int) AS files,
            sum(CASE WHEN draft AND ready THEN sign * size_bytes ELSE 0 END) AS size_bytes,
            sum(sign * (draft AND ready AND added_in IS NULL)::int) AS fresh,
            sum(sign * (draft AND ready AND added_in IS NULL AND replaced_earlier)::int) AS replaced,
            coalesce(sum(sign * (removed_in > d.latest_number AND added_in IS NOT NULL)::int), 0) AS gone,
            sum(sign * (draft AND state = 'uploading')::int) AS uploading,
            sum(sign * (draft AND state = 'verifying')::int) AS verifying,
            sum(sign * (draft AND state IN ('failed', 'abandoned'))::int) AS failed,
            CASE WHEN bool_or(ready) THEN statement_timestamp() END AS changed_at
        FROM (SELECT *, removed_in IS NULL AS draft, state = 'ready' AS ready FROM ({changes}) raw) c
        JOIN datasets_dataset d ON d.id = c.dataset_id
        GROUP BY c.dataset_id
    ) sums
    WHERE (files, size_bytes, fresh, replaced, gone, uploading, verifying, failed)
        <> (0, 0, 0, 0, 0, 0, 0, 0);
"""
TALLY = f"""
CREATE FUNCTION datasets_tally() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        {_SUMS.format(changes="SELECT 1 AS sign, n.* FROM after n")}
    ELSIF TG_OP = 'DELETE' THEN
        {_SUMS.format(changes="SELECT -1 AS sign, o.* FROM before o")}
    ELSE
        {_SUMS.format(changes="SELECT 1 AS sign, n.* FROM after n UNION ALL SELECT -1, o.* FROM before o")}
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER datasets_tally_insert AFTER INSERT ON datasets_datafile
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION datasets_tally();
CREATE TRIGGER datasets_tally_update AFTER UPDATE ON datasets_datafile
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION datasets_tally();
CREATE TRIGGER datasets_tally_delete AFTER DELETE ON datasets_datafile
    REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION datasets_tally();
"""
NO_TALLY = """
DROP TRIGGER datasets_tally_insert ON datasets_datafile;
DROP TRIGGER datasets_tally_update ON datasets_datafile;
DROP TRIGGER datasets_tally_delete ON datasets_datafile;
DROP FUNCTION datasets_tally();
"""

# What a version says stays so: its row once it is ready, and name, content and place in the versions of its files.
FIXED = """
CREATE FUNCTION datasets_keep_versions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is part of a version: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER datasets_version_stays BEFORE DELETE ON datasets_datasetversion
    FOR EACH ROW WHEN (OLD.state <> 'making') EXECUTE FUNCTION datasets_keep_versions();
CREATE TRIGGER datasets_version_is_fixed BEFORE UPDATE ON datasets_datasetversion
    FOR EACH ROW WHEN (OLD.state <> 'making' AND (NEW.state = 'making' OR
        (OLD.dataset_id, OLD.number, OLD.file_count, OLD.size_bytes, OLD.manifest_sha256, OLD.manifest_key, OLD.note,
         OLD.created_by_id, OLD.created_at)
        IS DISTINCT FROM
        (NEW.dataset_id, NEW.number, NEW.file_count, NEW.size_bytes, NEW.manifest_sha256, NEW.manifest_key, NEW.note,
         NEW.created_by_id, NEW.created_at)))
    EXECUTE FUNCTION datasets_keep_versions();

CREATE TRIGGER datasets_file_stays BEFORE DELETE ON datasets_datafile
    FOR EACH ROW WHEN (OLD.added_in IS NOT NULL) EXECUTE FUNCTION datasets_keep_versions();
CREATE TRIGGER datasets_file_is_fixed BEFORE UPDATE ON datasets_datafile
    FOR EACH ROW WHEN (OLD.added_in IS NOT NULL AND
        (OLD.dataset_id, OLD.name, OLD.size_bytes, OLD.sha256, OLD.storage_key, OLD.added_in)
        IS DISTINCT FROM
        (NEW.dataset_id, NEW.name, NEW.size_bytes, NEW.sha256, NEW.storage_key, NEW.added_in))
    EXECUTE FUNCTION datasets_keep_versions();

-- Nothing comes into a version that is ready, nothing leaves one.
CREATE FUNCTION datasets_keep_members() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM after n JOIN before o USING (id)
        JOIN datasets_datasetversion v ON v.dataset_id = n.dataset_id AND v.state <> 'making'
        WHERE (o.added_in IS NULL AND v.number >= n.added_in)
           OR (o.removed_in IS DISTINCT FROM n.removed_in AND v.number >= least(o.removed_in, n.removed_in))
    ) THEN
        RAISE EXCEPTION 'a ready version would change: % refused', TG_OP USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER datasets_members_are_fixed AFTER UPDATE ON datasets_datafile
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION datasets_keep_members();
"""
NOT_FIXED = """
DROP TRIGGER datasets_members_are_fixed ON datasets_datafile;
DROP FUNCTION datasets_keep_members();
DROP TRIGGER datasets_file_is_fixed ON datasets_datafile;
DROP TRIGGER datasets_file_stays ON datasets_datafile;
DROP TRIGGER datasets_version_is_fixed ON datasets_datasetversion;
DROP TRIGGER datasets_version_stays ON datasets_datasetversion;
DROP FUNCTION datasets_keep_versions();
"""


class Migration(migrations.Migration):
    """Columns that rewrite nothing, new tables, and the triggers that count and that guard."""

    dependencies = [
        ('datasets', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField('dataset', 'latest_number', models.PositiveIntegerField(db_default=0, default=0)),
        migrations.AddField(
            'dataset',
            'version_wanted_by',
            models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name='+',
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            'dataset',
            'version_wanted_note',
            models.CharField(blank=True, db_default='', default='', max_length=200),
        ),
        migrations.AddField('datafile', 'added_in', models.PositiveIntegerField(blank=True, null=True)),
        migrations.AddField('datafile', 'removed_in', models.PositiveIntegerField(blank=True, null=True)),
        migrations.AddField('datafile', 'replaced_earlier', models.BooleanField(db_default=False, default=False)),
        migrations.AddField(
            'datafile',
            'replaces',
            models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name='+',
                to='datasets.datafile',
            ),
        ),
        migrations.CreateModel(
            name='DatasetVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('state', models.CharField(choices=[('making', 'Being made'), ('ready', 'Ready')], default='making', max_length=10)),
                ('file_count', models.PositiveIntegerField(default=0)),
                ('size_bytes', models.PositiveBigIntegerField(default=0)),
                ('manifest_sha256', models.CharField(blank=True, max_length=64)),
                ('manifest_key', models.CharField(blank=True, max_length=120)),
                ('note', models.CharField(blank=True, max_length=200, verbose_name='Note')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('created_by', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('dataset', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='datasets.dataset')),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('state', 'making')), fields=['id'], name='version_to_make')],
                'constraints': [
                    models.UniqueConstraint(fields=('dataset', 'number'), name='version_number_once_per_dataset'),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(('state', 'ready'), _negated=True),
                            models.Q(models.Q(('manifest_sha256', ''), _negated=True), models.Q(('manifest_key', ''), _negated=True)),
                            _connector='OR',
                        ),
                        name='version_ready_means_manifest',
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name='DatasetTally',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('is_sum', models.BooleanField(db_default=False, default=False)),
                ('files', models.IntegerField(db_default=0, default=0)),
                ('size_bytes', models.BigIntegerField(db_default=0, default=0)),
                ('fresh', models.IntegerField(db_default=0, default=0)),
                ('replaced', models.IntegerField(db_default=0, default=0)),
                ('gone', models.IntegerField(db_default=0, default=0)),
                ('uploading', models.IntegerField(db_default=0, default=0)),
                ('verifying', models.IntegerField(db_default=0, default=0)),
                ('failed', models.IntegerField(db_default=0, default=0)),
                ('changed_at', models.DateTimeField(blank=True, null=True)),
                ('dataset', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='datasets.dataset')),
            ],
            options={
                'indexes': [
                    models.Index(fields=['dataset'], name='tally_by_dataset'),
                    models.Index(condition=models.Q(('is_sum', False)), fields=['dataset'], name='tally_to_add_up'),
                ],
            },
        ),
        migrations.RunSQL(TALLY, NO_TALLY),
        migrations.RunSQL(FIXED, NOT_FIXED),
    ]
