"""Who has had the trial credit. Those of before are known from the audit chain: who founded the organization."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


def remember_founders(apps, schema_editor):
    Credit, Trial = apps.get_model("billing", "Credit"), apps.get_model("billing", "Trial")
    AuditEvent = apps.get_model("audit", "AuditEvent")
    Membership, User = apps.get_model("accounts", "Membership"), apps.get_model("accounts", "User")
    for credit in Credit.objects.filter(kind="trial").select_related("organization").order_by("pk"):
        founded = AuditEvent.objects.filter(act="organization.founded", chain=credit.organization.code).first()
        if founded:
            founder = User.objects.filter(pk=int(founded.actor.removeprefix("user:"))).first()
        else:  # the demo's organization was not founded by anybody: its owner counts
            owner = Membership.objects.filter(organization=credit.organization, role="owner").order_by("pk").first()
            founder = owner.user if owner else None
        if founder:
            # Whoever already had two keeps them; one row is enough to refuse a third.
            trial = Trial(founder=founder, email=founder.email, organization=credit.organization, at=credit.issued_at)
            Trial.objects.bulk_create([trial], ignore_conflicts=True)


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0001_initial"),
        ("audit", "0002_append_only"),
        ("billing", "0002_append_only"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Trial",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("email", models.EmailField(max_length=254, unique=True)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "founder",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "organization",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.organization"
                    ),
                ),
            ],
        ),
        migrations.RunPython(remember_founders, migrations.RunPython.noop),
    ]
