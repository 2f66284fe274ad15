"""The most that may be spent, what is put aside before it is, and what somebody has approved beyond it."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from portal.accounts.models import Organization, Project, User
from portal.core.identifiers import random_code
from portal.core.periods import billing_month, day_of, fiscal_year, interval_of_fiscal_year


class BudgetPeriod(models.TextChoices):
    MONTH = "month", pgettext_lazy("budget period", "Each month")
    FISCAL_YEAR = "year", pgettext_lazy("budget period", "Each fiscal year (April to March)")
    FIXED = "fixed", pgettext_lazy("budget period", "Once, from a day to a day (e.g. a grant)")


class BudgetAction(models.TextChoices):
    """What a threshold does once. All but NOTHING send a mail to those who manage the money."""

    NOTHING = "nothing", pgettext_lazy("budget action", "Nothing")
    TELL = "tell", pgettext_lazy("budget action", "Send a mail")
    ASK = "ask", pgettext_lazy("budget action", "New jobs beyond it need an approval")
    STOP = "stop", pgettext_lazy("budget action", "Stop all jobs, let no new ones in")


THRESHOLDS = (50, 80, 100)  # percent of the limit


class BudgetQuerySet(models.QuerySet["Budget"]):
    def not_over(self, at: datetime) -> BudgetQuerySet:
        """Those that bind what is held now. One that has not begun yet binds too: what is held may be used in it."""
        return self.exclude(period=BudgetPeriod.FIXED, last_day__lt=day_of(at))

    def that_may_stop(self) -> BudgetQuerySet:
        return self.filter(Q(at_50=BudgetAction.STOP) | Q(at_80=BudgetAction.STOP) | Q(at_100=BudgetAction.STOP))

    def in_order(self) -> BudgetQuerySet:
        """The one order in which rows are locked: the organization's before its projects'."""
        return self.order_by(F("project").asc(nulls_first=True), "pk")


class Budget(models.Model):
    """The most that may be spent and held in a period in Japan: of a project, or of the whole organization.

    Spent counts in the period it was used in. Held counts in every period that is not over.
    """

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="budgets")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="budgets", null=True, blank=True)
    period = models.CharField(
        max_length=5, choices=BudgetPeriod.choices, default=BudgetPeriod.MONTH, db_default=BudgetPeriod.MONTH.value
    )
    name = models.CharField(max_length=60, blank=True, default="", db_default="")  # of a fixed period
    first_day = models.DateField(null=True, blank=True)  # of a fixed period
    last_day = models.DateField(null=True, blank=True)
    limit = models.PositiveBigIntegerField(db_column="monthly_limit")  # the release before reads and writes this name
    at_50 = models.CharField(
        max_length=7, choices=BudgetAction.choices, default=BudgetAction.NOTHING, db_default=BudgetAction.NOTHING.value
    )
    at_80 = models.CharField(
        max_length=7, choices=BudgetAction.choices, default=BudgetAction.TELL, db_default=BudgetAction.TELL.value
    )
    at_100 = models.CharField(
        max_length=7, choices=BudgetAction.choices, default=BudgetAction.TELL, db_default=BudgetAction.TELL.value
    )
    updated_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    updated_at = models.DateTimeField(default=timezone.now)

    objects = BudgetQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "project", "period"],
                condition=~Q(period=BudgetPeriod.FIXED),
                nulls_distinct=False,
                name="budget_once_per_place_and_period",
            ),
            models.CheckConstraint(
                condition=Q(
                    Q(period=BudgetPeriod.FIXED, first_day__lte=F("last_day")) & ~Q(name=""),
                    Q(~Q(period=BudgetPeriod.FIXED), first_day=None, last_day=None, name=""),
                    _connector=Q.OR,
                ),
                name="budget_fixed_period_has_days_and_name",
            ),
        ]

    @property
    def actions(self) -> dict[int, BudgetAction]:
        """By percent of the limit."""
        return {percent: BudgetAction(getattr(self, f"at_{percent}")) for percent in THRESHOLDS}

    def days(self, at: datetime) -> tuple[date, date]:
        """First and last day, in Japan, of the period that holds at that instant."""
        if self.period == BudgetPeriod.FIXED:
            assert self.first_day is not None and self.last_day is not None  # a constraint
            return self.first_day, self.last_day
        if self.period == BudgetPeriod.FISCAL_YEAR:
            year = interval_of_fiscal_year(fiscal_year(at))
            return day_of(year.start), day_of(year.end) - timedelta(days=1)
        month = billing_month(at)
        return month.first_day, month.last_day


class Hold(models.Model):
    """Put aside at submit, used up by charges, released at the end: 0 <= used, used + released <= amount at the end.

    It grows when the job is given more time, at most as its budgets and the credit allow.
    """

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="holds")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="holds")
    job_code = models.CharField(max_length=24, unique=True)
    amount = models.PositiveBigIntegerField()
    used = models.PositiveBigIntegerField(default=0)  # charged out of this hold
    created_at = models.DateTimeField(default=timezone.now)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(used__lte=F("amount")), name="hold_not_overused")]
        indexes = [models.Index(fields=["project"], condition=Q(released_at=None), name="hold_open_by_project")]

    @property
    def left(self) -> int:
        """Yen still put aside."""
        return self.amount - self.used if self.released_at is None else 0


class BudgetAlert(models.Model):
    """A threshold that was reached: once in a period, for the limit and the action that it had then."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="alerts")
    first_day = models.DateField()  # of the period
    percent = models.PositiveSmallIntegerField()
    limit = models.PositiveBigIntegerField()
    action = models.CharField(max_length=7, choices=BudgetAction.choices)
    used = models.BigIntegerField()  # yen that reached it: spent and held; for STOP spent alone
    at = models.DateTimeField(default=timezone.now)
    to_tell = models.JSONField(default=list)  # ids of the people who have no mail about it yet

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "first_day", "percent", "limit", "action"], name="budget_alert_once"
            )
        ]
        indexes = [models.Index(fields=["id"], condition=~Q(to_tell=[]), name="budget_alert_untold")]


class SpendState(models.TextChoices):
    ASKED = "asked", pgettext_lazy("spend request", "Waiting for approval")
    APPROVED = "approved", pgettext_lazy("spend request", "Approved")
    DECLINED = "declined", pgettext_lazy("spend request", "Declined")
    USED = "used", pgettext_lazy("spend request", "Job created")
    EXPIRED = "expired", pgettext_lazy("spend request", "Expired")


def spend_request_code() -> str:
    return f"r-{random_code(10).lower()}"


class SpendRequest(models.Model):
    """A person's wish to spend beyond a budget, for one job: its form is kept until somebody decides."""

    code = models.CharField(max_length=16, unique=True, default=spend_request_code, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    asked_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField(default=timezone.now)
    reason = models.CharField(_("Reason"), max_length=500)
    job_name = models.CharField(max_length=50)
    amount = models.PositiveBigIntegerField()  # yen that the job holds
    digest = models.CharField(max_length=64)  # of exactly that job
    form = models.JSONField(default=dict)  # what was typed, without secrets
    state = models.CharField(max_length=8, choices=SpendState.choices, default=SpendState.ASKED)
    told = models.CharField(max_length=8, choices=SpendState.choices, blank=True)  # the state that the last mail was of
    expires_at = models.DateTimeField()  # asked: answered until then; approved: used until then
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    answer = models.CharField(max_length=500, blank=True)
    of_organization = models.BooleanField(default=False)  # decided by who manages the whole organization's money
    job_code = models.CharField(max_length=24, blank=True)  # the job that used it

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "asked_by", "digest"],
                condition=Q(state__in=["asked", "approved"]),
                name="spend_request_open_once",
            )
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="spend_request_by_place"),
            models.Index(
                fields=["expires_at"], condition=Q(state__in=["asked", "approved"]), name="spend_request_open"
            ),
        ]


class Allowance(models.Model):
    """What an approved job may hold and spend beyond a budget. `amount` never changes.

    In each period it counts for at most what the job has spent in it and still holds.
    """

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="allowances")
    hold = models.ForeignKey(Hold, on_delete=models.CASCADE, related_name="allowances")
    amount = models.PositiveBigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["budget", "hold"], name="allowance_once")]
