from django.db import models


class Heartbeat(models.Model):
    """When a worker last showed that it is alive; /readyz shows its age."""

    name = models.CharField(max_length=60, primary_key=True)
    seen_at = models.DateTimeField()
