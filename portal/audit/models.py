from django.db import models

from portal.core.models import AppendOnly


class AuditEvent(AppendOnly):
    """One act. `digest` covers the row and the digest before it in the same chain (one chain per organization)."""

    chain = models.CharField(max_length=40)  # organization code, or "" for acts outside any organization
    sequence = models.PositiveBigIntegerField()
    at = models.DateTimeField()
    actor = models.CharField(max_length=80)  # "user:12", "portal:tracker", "provider:sakura"
    act = models.CharField(max_length=60)  # "job.submitted"
    subject = models.CharField(max_length=80)  # "job:J-20261124-7K3Q9X"
    detail = models.JSONField(default=dict)
    previous = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["chain", "sequence"], name="audit_one_place_in_chain")]
        indexes = [models.Index(fields=["subject", "-at"], name="audit_by_subject")]


class AuditHead(models.Model):
    """The end of each chain: locked while a link is added, so that two acts never take one place."""

    chain = models.CharField(max_length=40, primary_key=True)
    sequence = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=64, default="")
