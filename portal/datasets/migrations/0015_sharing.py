import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_registry_login'),
        ('datasets', '0014_versions_at_scale'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='DatasetShare',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('until', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('told_at', models.DateTimeField(blank=True, null=True)),
                ('created_by', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('dataset', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='shares', to='datasets.dataset')),
                ('ended_by', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.organization')),
                ('to_organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.organization')),
                ('to_project', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.project')),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('ended_at', None)), fields=['to_organization', 'dataset'], name='share_by_organization'), models.Index(condition=models.Q(('ended_at', None)), fields=['to_project', 'dataset'], name='share_by_project'), models.Index(condition=models.Q(('ended_at', None), ('told_at', None)), fields=['id'], name='share_to_tell')],
                'constraints': [models.CheckConstraint(condition=models.Q(('to_organization', models.F('organization')), models.Q(('to_project__isnull', False), ('until__isnull', False)), _connector='OR'), name='share_outside_names_project_and_end'), models.UniqueConstraint(condition=models.Q(('ended_at', None)), fields=('dataset', 'to_organization', 'to_project'), name='share_once_per_receiver', nulls_distinct=False)],
            },
        ),
    ]
