"""Which months are closed: nothing is charged in them any more."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.accounts.models import Organization
from portal.catalog.models import Provider


class PeriodState(models.TextChoices):
    OPEN = "open", pgettext_lazy("state of a billing month", "Open")
    CLOSING = "closing", _("Closing")  # its charges are settled, its invoice is being made
    CLOSED = "closed", pgettext_lazy("state of a billing month", "Closed")


class BillingPeriod(models.Model):
    """A month of what one member invoices to one organization. Without a row it is open."""

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    issuer = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")  # the contracting member
    month = models.DateField()  # its first day, in Japan
    state = models.CharField(max_length=8, choices=PeriodState.choices, default=PeriodState.OPEN)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "month", "issuer"], name="billing_period_once"),
            models.CheckConstraint(
                condition=Q(state=PeriodState.CLOSED, closed_at__isnull=False)
                | Q(state__in=[PeriodState.OPEN, PeriodState.CLOSING], closed_at=None),
                name="billing_period_closed_at_an_instant",
            ),
            models.CheckConstraint(condition=Q(month__day=1), name="billing_period_begins_on_the_first"),
        ]
