from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("datasets", "0015_sharing")]

    operations = [
        migrations.AddField(
            model_name='datafile',
            name='copy_from',
            field=models.CharField(blank=True, db_default='', default='', max_length=120),
        ),
        migrations.AlterField(
            model_name='datafile',
            name='failure',
            field=models.CharField(blank=True, choices=[('size', '“%(name)s” arrived with a different size than it has on your computer. Upload it again.'), ('checksum', 'The checksum of “%(name)s” differs from your file. Upload it again.'), ('lost', '“%(name)s” is not in the storage. Upload it again.'), ('gone', 'What “%(name)s” was to be copied from is no longer in the storage.'), ('silent', 'Nothing arrived for “%(name)s” for 24 hours, so its parts were removed. Upload it again.')], max_length=10),
        ),
    ]
