"""What members owe each other: the rules by which, and the months that are settled."""

from __future__ import annotations

from fractions import Fraction

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from portal.catalog.models import Offering, Provider, SaleForm
from portal.core.identifiers import settlement_code
from portal.core.models import AppendOnly


class RevenueRule(AppendOnly):
    """What the host gets of what the contracting member charges for the host's machines. A dated row, never edited.

    Tax is in it, as in every charge. It holds from its day until a later one begins; of two that begin on the same day
    the one entered last holds. `host_member` None: whoever has no rule of their own. What an agreement between members
    says is known to the operator alone (`manage.py set_revenue_rule`), and no customer sees it.
    """

    contracting_member = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    host_member = models.ForeignKey(Provider, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    sale_form = models.CharField(max_length=12, choices=SaleForm.choices)
    # One of the two. A price per GPU-hour says nothing of what has no GPU time; such charges go to the host in full.
    percent = models.DecimalField(max_digits=5, decimal_places=2, null=True, blank=True)  # of the charge
    yen_per_gpu_hour = models.DecimalField(max_digits=14, decimal_places=6, null=True, blank=True)
    # Charges paid with credit that was given for nothing (trial, grant, ...): the contracting member, who gave it, owes
    # the host's share all the same; or the host gets nothing of them.
    host_bears_given_credit = models.BooleanField(default=False)
    valid_from = models.DateField()  # in Japan; it is for use from then on, whenever that is charged
    source = models.CharField(max_length=200)
    confirmed = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(percent__range=(0, 100), yen_per_gpu_hour=None) | Q(percent=None, yen_per_gpu_hour__gte=0),
                name="revenue_rule_is_a_percentage_or_a_price",
            ),
            models.CheckConstraint(
                condition=Q(host_member=None) | ~Q(host_member=F("contracting_member")),
                name="revenue_rule_is_between_two_members",
            ),
        ]

    def share_of(self, gross: int, *, given: int, gpu_seconds: int) -> int:
        """Whole yen that the host gets, rounded toward zero, of charges of `gross` for that much use, of which `given`
        was paid with credit given for nothing. Of what is taken back: negative."""
        if self.percent is not None:
            share = gross * Fraction(self.percent) / 100
        elif gpu_seconds and self.yen_per_gpu_hour is not None:
            share = Fraction(self.yen_per_gpu_hour) * gpu_seconds / 3600
        else:
            share = Fraction(gross)
        if self.host_bears_given_credit and gross:
            share *= Fraction(gross - given, gross)
        return int(share)


class Settlement(AppendOnly):
    """What one member owes another for one month, settled: `gross` was charged, `fee` stays, `net` is owed."""

    code = models.CharField(max_length=16, unique=True, default=settlement_code)
    month = models.DateField()  # its first day, in Japan
    contracting_member = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    host_member = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    gross = models.BigIntegerField()
    fee = models.BigIntegerField()
    net = models.BigIntegerField()
    closed_by = models.CharField(max_length=80)
    closed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["month", "contracting_member", "host_member"], name="settlement_once"),
            models.CheckConstraint(condition=Q(gross=F("fee") + F("net")), name="settlement_adds_up"),
            models.CheckConstraint(
                condition=~Q(contracting_member=F("host_member")), name="settlement_is_between_two_members"
            ),
        ]

    @property
    def members(self) -> tuple[int, int]:
        return self.contracting_member_id, self.host_member_id


class SettlementLine(AppendOnly):
    """One offering's part of a settlement, by one rule. The lines of a settlement add up to it."""

    settlement = models.ForeignKey(Settlement, on_delete=models.PROTECT, related_name="lines")
    offering = models.ForeignKey(Offering, on_delete=models.PROTECT, null=True, related_name="+")  # None: storage
    rule = models.ForeignKey(RevenueRule, on_delete=models.PROTECT, related_name="+")
    gpu_seconds = models.BigIntegerField()
    given = models.BigIntegerField()  # of the gross, paid with credit that was given for nothing
    gross = models.BigIntegerField()
    fee = models.BigIntegerField()
    net = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["settlement", "offering", "rule"], nulls_distinct=False, name="settlement_line_once"
            ),
            models.CheckConstraint(condition=Q(gross=F("fee") + F("net")), name="settlement_line_adds_up"),
        ]


class SettlementDispute(AppendOnly):
    """A member says that a settlement is wrong. The settlement stays; what follows from it is agreed outside."""

    settlement = models.ForeignKey(Settlement, on_delete=models.PROTECT, related_name="disputes")
    note = models.CharField(max_length=1000)
    by = models.CharField(max_length=80)
    at = models.DateTimeField(default=timezone.now)
