from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import models, transaction
from django.db.models import F, Q, Value
from django.db.models.functions import MD5, Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from portal.accounts.access import access_of
from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Permission
from portal.audit import recording as audit
from portal.catalog.models import Offering, Price, ProviderAccount
from portal.core.identifiers import attempt_code, job_code, sweep_code
from portal.datasets.models import DataFile
from portal.jobs.states import (
    ACTIVE,
    ATTEMPT_TRANSITIONS,
    JOB_TRANSITIONS,
    AttemptState,
    Face,
    FailureClass,
    JobState,
    WaitingReason,
)


class IllegalTransition(Exception):
    """That state cannot follow this one."""


class JobQuerySet(models.QuerySet["Job"]):
    def visible_to(self, user: User) -> JobQuerySet:
        access = access_of(user)
        return self.filter(
            Q(organization__in=access.organizations_with(Permission.VIEW))
            | Q(project__in=access.projects_with(Permission.VIEW))
        )

    def active(self) -> JobQuerySet:
        return self.filter(state__in=ACTIVE)


class Job(models.Model):
    """What a person submits and cares about. `move_to` is the only writer of `state`."""

    code = models.CharField(max_length=24, unique=True, default=job_code, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="jobs")
    submitted_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(_("Job name"), max_length=50)
    template = models.CharField(max_length=40, blank=True)  # slug of the starter it was made from

    # What to run.
    script = models.TextField(blank=True)
    script_name = models.CharField(max_length=60, blank=True)  # main.py, main.sh
    command = models.TextField(blank=True)
    image = models.CharField(max_length=300, blank=True)
    environment = models.JSONField(default=dict)  # name -> value, shown on the page
    secret_names = models.JSONField(default=list)
    sealed_secrets = models.TextField(blank=True)  # portal.core.sealing; wiped when the job ends
    # The versions of datasets it reads (attaching.told), each file of them a JobInput.
    datasets = models.JSONField(default=list, db_default=Value([], models.JSONField()))

    # Where, how long, for how much: as it was believed at submit, or when it was given to another place.
    offering = models.ForeignKey(Offering, on_delete=models.PROTECT, related_name="+")
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="+")
    offer_snapshot = models.JSONField(default=dict)
    gpus = models.PositiveIntegerField()
    time_limit_s = models.PositiveIntegerField()
    cost_cap = models.PositiveBigIntegerField()  # yen, tax included: the hold
    # What may happen without asking again: other places, the first first, each with what it was when it was named
    # ({"slug", "architecture"}), and new beginnings after the provider interrupted it. Defaults of the database too:
    # the release before goes on writing rows meanwhile.
    alternatives = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    retries = models.SmallIntegerField(default=0, db_default=0)

    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.SUBMITTED)
    waiting_reason = models.CharField(max_length=16, choices=WaitingReason.choices, blank=True)
    failure = models.CharField(max_length=16, choices=FailureClass.choices, blank=True)
    failure_detail = models.CharField(max_length=500, blank=True)  # one line for people, already harmless text
    # What portal.jobs.diagnosis found when it ended in failure, once; {} where nothing did. The default is the
    # database's too: the release before goes on writing rows while this column is made.
    diagnosis = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    exit_code = models.IntegerField(null=True, blank=True)
    submitted_at = models.DateTimeField(default=timezone.now)
    state_since = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)  # charging starts
    ended_at = models.DateTimeField(null=True, blank=True)  # charging stopped
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    stop_requested_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, blank=True)

    # Sums for pages, written with the records they sum.
    gpu_seconds = models.PositiveBigIntegerField(default=0)
    cost = models.PositiveBigIntegerField(default=0)
    earlier_cost = models.BigIntegerField(default=0, db_default=0)  # of attempts before the present one
    log_lines = models.PositiveIntegerField(default=0)
    log_bytes = models.PositiveBigIntegerField(default=0)
    log_key = models.CharField(max_length=120, blank=True)  # the whole log in storage, once the job has ended
    version = models.PositiveIntegerField(default=1)  # counts every change a page shows: the polling tag

    objects = JobQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-id"], name="job_by_organization"),
            models.Index(fields=["project", "-id"], name="job_by_project"),
            models.Index(fields=["organization", "state", "-id"], name="job_by_state"),
            models.Index(
                fields=["organization"], condition=Q(state__in=sorted(s.value for s in ACTIVE)), name="job_active"
            ),
        ]

    def __str__(self) -> str:
        return self.code

    @property
    def state_label(self) -> str:
        return str(JobState(self.state).label)

    @property
    def face(self) -> Face:
        return JobState(self.state).face

    @property
    def is_final(self) -> bool:
        return JobState(self.state).is_final

    @property
    def strategy(self) -> str:
        """By which the portal chose the place; "": a person did."""
        return str(self.offer_snapshot.get("strategy", ""))

    @property
    def can_stop(self) -> bool:
        return not self.is_final and self.state != JobState.FINISHING and self.stop_requested_at is None

    def move_to(
        self,
        state: JobState,
        *,
        reason: str = "",
        by: str,
        at: datetime | None = None,
        detail: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> bool:
        """Consult the table, write row, event and audit link together.

        `by` is "user:<id>" or "portal:<step>"; `fields` are further columns to set. False when the job already is in
        that state (nothing is written). Raises IllegalTransition; a final state is never left, so late news raise too.
        """
        now = at or timezone.now()
        changes = {"state": state, "state_since": now, **fields}
        if state not in (JobState.SUBMITTED, JobState.QUEUED):
            changes.setdefault("waiting_reason", "")
        if JobState(state).is_final:
            changes["sealed_secrets"] = ""
        row = Job.objects.filter(pk=self.pk)
        with transaction.atomic(savepoint=False):
            old, written = self.state, 0
            if state in JOB_TRANSITIONS[JobState(old)]:  # most often it still is as it was read, and no look is needed
                written = row.filter(state=old).update(version=F("version") + 1, **changes)
            if not written:
                old = row.select_for_update().values_list("state", flat=True).get()
                if old == state:
                    self.state = old
                    return False
                if state not in JOB_TRANSITIONS[JobState(old)]:
                    raise IllegalTransition(f"{self.code}: {old} -> {state}")
                row.update(version=F("version") + 1, **changes)
            JobEvent.objects.create(
                job=self, at=now, kind="state", before=old, after=state, reason=reason, by=by, detail=dict(detail or {})
            )
            audit.record(
                "job.moved",
                f"job:{self.code}",
                actor=by,
                chain=self.organization.code,
                detail={"from": old, "to": state.value, "reason": reason},
            )
        for name, value in changes.items():
            setattr(self, name, value)
        self.version += 1
        return True

    def touch(self, **fields: Any) -> None:
        """Set what a page shows without a change of state; pages that poll see a new version."""
        Job.objects.filter(pk=self.pk).update(version=F("version") + 1, **fields)
        for name, value in fields.items():
            setattr(self, name, value)
        self.version += 1


class JobInput(models.Model):
    """A file the job reads, at $PORTAL_DATA_DIR/<path>; checksum and size as they were at submit."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="inputs")
    data_file = models.ForeignKey(DataFile, on_delete=models.PROTECT, related_name="+")
    path = models.CharField(max_length=1200)  # <dataset folder>/<path in the dataset>
    size_bytes = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)

    class Meta:
        # By a digest, since an index takes 2,700 bytes at most.
        constraints = [models.UniqueConstraint("job", MD5("path"), name="job_input_path_once_by_digest")]


# Nobody holds it and its time has come, by the database's clock.
RIPE = (Q(lease_until=None) | Q(lease_until__lt=Now())) & (Q(not_before=None) | Q(not_before__lte=Now()))


class AttemptQuerySet(models.QuerySet["Attempt"]):
    def unfinished(self) -> AttemptQuerySet:
        """Everything that still wants something done: the to-do list of the sweep, by one index."""
        return self.filter(collected_at=None)

    def at_provider(self) -> AttemptQuerySet:
        """Rows whose remote job may still change; also those that the provider has stopped speaking of."""
        return (
            self.unfinished()
            .filter(
                state__in=[AttemptState.ACCEPTED, AttemptState.RUNNING, AttemptState.STOPPING, AttemptState.UNKNOWN]
            )
            .exclude(remote_id="")
        )

    def to_collect(self) -> AttemptQuerySet:
        """Rows whose remote job has ended and whose log and results are not in storage yet."""
        return self.unfinished().filter(state=AttemptState.ENDED).ripe()

    def ripe(self) -> AttemptQuerySet:
        return self.filter(RIPE)


class Attempt(models.Model):
    """One try of a job at one provider. Only the holder of the newest epoch may write what it learnt."""

    code = models.CharField(max_length=16, unique=True, default=attempt_code, editable=False)
    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="attempts")
    number = models.PositiveSmallIntegerField(default=1)
    account = models.ForeignKey(ProviderAccount, on_delete=models.PROTECT, related_name="attempts")
    offering = models.ForeignKey(Offering, on_delete=models.PROTECT, related_name="+")
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=AttemptState.choices, default=AttemptState.INTENDED)

    lease_owner = models.CharField(max_length=80, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)  # database clock
    epoch = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)  # failed tries that certainly had no effect
    looks = models.PositiveSmallIntegerField(default=0)  # times we asked by key and found nothing
    last_error = models.CharField(max_length=300, blank=True)

    remote_id = models.CharField(max_length=100, blank=True)
    remote_state = models.CharField(max_length=16, blank=True)  # portal.providers.base.RemoteState
    remote_reason = models.CharField(max_length=200, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True, blank=True)
    accepted_at = models.DateTimeField(null=True, blank=True)
    # The copy that may run, by the name it gave itself, and its job at the provider, where it knew. Defaults of the
    # database too: the release before goes on writing rows while these columns are made.
    claimed_by = models.CharField(max_length=64, blank=True, default="", db_default="")
    claimed_remote_id = models.CharField(max_length=100, blank=True, default="", db_default="")
    claimed_at = models.DateTimeField(null=True, blank=True)  # database clock
    started_at = models.DateTimeField(null=True, blank=True)  # as the provider says
    ended_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)  # last time the provider spoke of it
    stop_asked_at = models.DateTimeField(null=True, blank=True)  # last time we asked the provider to stop it
    # Minutes before its end that the last warning was of; 0: none yet.
    warned_min = models.PositiveSmallIntegerField(default=0, db_default=0)
    # More time that is held for and that the provider has not confirmed; 0: it knows the job's time limit.
    asked_more_s = models.PositiveIntegerField(default=0, db_default=0)
    asked_more_yen = models.PositiveBigIntegerField(default=0, db_default=0)
    metered_until = models.DateTimeField(null=True, blank=True)  # the watermark
    collected_at = models.DateTimeField(null=True, blank=True)  # nothing is left to do: log and results are in storage
    collect_tries = models.PositiveIntegerField(default=0)
    log_offset = models.PositiveBigIntegerField(default=0)  # bytes of the provider's log already kept
    log_rest = models.BinaryField(default=b"")  # an unfinished last line
    log_key = models.CharField(max_length=120, blank=True, default="", db_default="")  # its whole log in storage

    objects = AttemptQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "number"], name="attempt_number_once"),
            models.UniqueConstraint(
                fields=["account", "remote_id"], condition=~Q(remote_id=""), name="remote_job_adopted_once"
            ),
            # The job that we track and pay for is the one that may run.
            models.CheckConstraint(
                condition=Q(remote_id="") | Q(claimed_remote_id="") | Q(remote_id=F("claimed_remote_id")),
                name="claimed_by_the_job_adopted",
            ),
            # One accepted submit has at most one live try.
            models.UniqueConstraint(fields=["job"], condition=~Q(state="ended"), name="attempt_one_alive"),
        ]
        indexes = [
            models.Index(fields=["account", "id"], condition=Q(collected_at=None), name="attempt_unfinished"),
            # How long those before have waited (portal.jobs.waits).
            models.Index(
                fields=["offering", "created_at"], condition=Q(started_at__isnull=False), name="attempt_begun"
            ),
            models.Index(fields=["offering", "-id"], name="attempt_by_offering"),  # the last ones there: placing.py
        ]

    def __str__(self) -> str:
        return f"{self.job_id}/{self.number}"

    def may_become(self, state: AttemptState) -> bool:
        return state in ATTEMPT_TRANSITIONS[AttemptState(self.state)]


class JobEvent(models.Model):
    """What happened to the job, for its page. Written with the change it tells of."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=20)  # state, handoff, provider, limit, stop, data
    before = models.CharField(max_length=10, blank=True)
    after = models.CharField(max_length=10, blank=True)
    reason = models.CharField(max_length=300, blank=True)  # a key of portal.jobs.wording, or plain provider text
    by = models.CharField(max_length=80)
    detail = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["job", "id"], name="event_by_job")]


class LogChunk(models.Model):
    """Some whole lines of a job's output, kept while it runs and for a time after; the whole log is in storage."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log_chunks")
    first_line = models.PositiveIntegerField()  # 1-based
    line_count = models.PositiveIntegerField()
    at = models.DateTimeField(default=timezone.now)
    text = models.TextField()  # UTF-8, \0 and broken bytes replaced, ends without a newline

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "first_line"], name="log_lines_once")]


class Artifact(models.Model):
    """A file the job left behind, in in-country storage."""

    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="artifacts")
    path = models.CharField(max_length=400)
    size_bytes = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    storage_key = models.CharField(max_length=120)
    created_at = models.DateTimeField(default=timezone.now)
    # Read back from the store and equal; None for those of before that was done.
    verified_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "path"], name="artifact_path_once")]


class SweepQuerySet(models.QuerySet["Sweep"]):
    def visible_to(self, user: User) -> SweepQuerySet:
        access = access_of(user)
        return self.filter(
            Q(project__organization__in=access.organizations_with(Permission.VIEW))
            | Q(project__in=access.projects_with(Permission.VIEW))
        )


class Stop(models.TextChoices):
    """What somebody wants of a sweep's tasks; "" nothing, or it was carried out."""

    WAITING = "waiting", _("Stop what has not begun")
    ALL = "all", _("Stop everything")


class Sweep(models.Model):
    """One form, many tasks: the same work with other parameters. Each task is a job of its own."""

    code = models.CharField(max_length=24, unique=True, default=sweep_code, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="sweeps")
    submitted_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=50)
    names = models.JSONField(default=list)  # of the parameters, in the order that was typed
    task_count = models.PositiveIntegerField()
    created_at = models.DateTimeField(default=timezone.now)
    stop_wanted = models.CharField(max_length=8, choices=Stop.choices, blank=True)  # the row is the to-do list
    stop_wanted_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, blank=True)

    objects = SweepQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["project", "-id"], name="sweep_by_project"),
            models.Index(fields=["id"], condition=~Q(stop_wanted=""), name="sweep_to_stop"),
        ]

    def __str__(self) -> str:
        return self.code


class SweepTask(models.Model):
    """The job that runs one point of a sweep; a retry is a further row with another job, and then the newest counts."""

    sweep = models.ForeignKey(Sweep, on_delete=models.PROTECT, related_name="tasks")
    number = models.PositiveIntegerField()  # 1 to task_count
    turn = models.PositiveSmallIntegerField(default=1)
    newest = models.BooleanField(default=True)
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="task")
    parameters = models.JSONField(default=dict)
    # Of result.json that the job left: names -> numbers or short texts; {} where it left none that can be read.
    result = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["sweep", "number", "turn"], name="sweep_task_turn_once"),
            models.UniqueConstraint(
                fields=["sweep", "number"], condition=Q(newest=True), name="sweep_task_newest_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sweep_id}/{self.number}"


class Placement(models.Model):
    """Why an attempt is where it is, of a job that named its needs instead of a plan. One for each place it was given:
    at submit, and whenever it had to go elsewhere. `manage.py explain_placement` recomputes it."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="placements")
    number = models.PositiveSmallIntegerField()  # of the attempt
    version = models.CharField(max_length=20)  # of the rule
    input = models.JSONField()  # portal.jobs.placement.spelling.input_json
    decision = models.JSONField()  # decision_json of the same
    chosen = models.CharField(max_length=50)  # slug of the offering, the first candidate

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="placement_once_per_attempt")]


class SubmitKey(models.Model):
    """One per form shown: the same key and content again answers with the same job."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)  # SHA-256 of the canonical form
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="submit_key_once")]


class Draft(models.Model):
    """What a person has typed into the job form so far; one per person and project. Secrets are not kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    fields = models.JSONField(default=dict)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "project"], name="draft_once")]


class SavedView(models.Model):
    """Filters of the list of jobs under a name, one person's own."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=40)
    query = models.CharField(max_length=500)  # of the URL, as views.filtering writes it

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "organization", "name"], name="saved_view_name_once")]

    def __str__(self) -> str:
        return self.name
