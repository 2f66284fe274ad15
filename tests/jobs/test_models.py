from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.accounts.roles import Role
from portal.audit.models import AuditEvent
from portal.core.sealing import seal
from portal.jobs.models import Attempt, IllegalTransition, Job, JobEvent
from portal.jobs.states import AttemptState, JobState, WaitingReason
from tests.factories import AttemptFactory, JobFactory, MembershipFactory, ProjectFactory

AT = datetime(2026, 11, 24, 4, 7, tzinfo=UTC)


@pytest.fixture
def job(project: Project) -> Job:
    return JobFactory(project=project, sealed_secrets=seal({"TOKEN": "x"}), waiting_reason=WaitingReason.CAPACITY)


def stored(job: Job) -> tuple[str, int, int, int]:
    row = Job.objects.get(pk=job.pk)
    return row.state, row.version, JobEvent.objects.count(), AuditEvent.objects.count()


def test_a_move_writes_row_event_and_audit_link_together(job: Job) -> None:
    moved = job.move_to(JobState.RUNNING, reason="running", by="portal:track", at=AT, detail={"n": 1}, started_at=AT)
    row, event, link = Job.objects.get(), JobEvent.objects.get(), AuditEvent.objects.get()
    assert (moved, row.state, row.state_since, row.started_at, row.version, row.waiting_reason) == (
        True, "running", AT, AT, 2, "",
    )  # fmt: skip
    assert (event.at, event.kind, event.before, event.after, event.reason, event.by, event.detail) == (
        AT, "state", "submitted", "running", "running", "portal:track", {"n": 1},
    )  # fmt: skip
    assert (link.act, link.subject, link.actor, link.chain, link.detail) == (
        "job.moved",
        f"job:{job.code}",
        "portal:track",
        job.organization.code,
        {"from": "submitted", "to": "running", "reason": "running"},
    )
    assert (job.state, job.version, job.started_at) == ("running", 2, AT)


def test_the_same_state_again_writes_nothing(job: Job) -> None:
    assert job.move_to(JobState.SUBMITTED, by="portal:test") is False
    assert stored(job) == ("submitted", 1, 0, 0)


def test_a_state_that_cannot_follow_changes_nothing(job: Job) -> None:
    with pytest.raises(IllegalTransition), transaction.atomic():
        job.move_to(JobState.SUCCEEDED, by="portal:test")
    assert (stored(job), job.state) == (("submitted", 1, 0, 0), "submitted")


def test_a_move_starts_from_the_state_that_is_stored(job: Job) -> None:
    """Somebody else has moved it since it was read."""
    stale = Job.objects.get(pk=job.pk)
    job.move_to(JobState.RUNNING, by="portal:track")
    assert stale.move_to(JobState.FINISHING, by="portal:track") is True
    assert list(JobEvent.objects.order_by("pk").values_list("before", "after")) == [
        ("submitted", "running"), ("running", "finishing"),
    ]  # fmt: skip
    with pytest.raises(IllegalTransition):
        job.move_to(JobState.QUEUED, by="portal:track")  # legal from what it was, not from what it is


def test_late_news_never_move_a_job_that_has_ended(job: Job) -> None:
    stale = Job.objects.get(pk=job.pk)
    job.move_to(JobState.CANCELLED, by="user:1")
    with pytest.raises(IllegalTransition), transaction.atomic():
        stale.move_to(JobState.RUNNING, by="portal:track")
    assert (stored(job), Job.objects.get().sealed_secrets) == (("cancelled", 2, 1, 1), "")


def test_why_it_waits_is_kept_while_it_waits(job: Job) -> None:
    job.move_to(JobState.QUEUED, by="portal:track")
    waiting = Job.objects.get().waiting_reason
    job.move_to(JobState.STARTING, by="portal:track")
    assert (waiting, Job.objects.get().waiting_reason) == ("capacity", "")


def test_touch_makes_pages_look_again_and_tells_no_story(job: Job) -> None:
    job.touch(log_lines=7)
    row = Job.objects.get()
    assert (row.log_lines, row.version, job.version, job.log_lines, JobEvent.objects.count()) == (7, 2, 2, 7, 0)


@pytest.mark.parametrize(
    ("state", "asked", "can_stop"),
    [
        ("submitted", None, True),
        ("running", None, True),
        ("running", AT, False),
        ("finishing", None, False),
        ("failed", None, False),
    ],
)
def test_what_can_be_stopped(state: str, asked: datetime | None, can_stop: bool) -> None:
    assert Job(state=state, stop_requested_at=asked).can_stop is can_stop


def test_jobs_are_seen_where_a_role_lets_one_see_them(job: Job, viewer: User, billing: User, stranger: User) -> None:
    other = JobFactory(project=ProjectFactory(organization=job.organization), state="succeeded")
    guest = MembershipFactory(organization=job.organization, project=job.project, role=Role.VIEWER).user
    seen = [set(Job.objects.visible_to(user)) for user in (viewer, guest, billing, stranger)]
    assert (seen, set(Job.objects.active())) == ([{job, other}, {job}, set(), set()], {job})


# --- attempts --------------------------------------------------------------------------------------------------------
def test_an_attempt_is_ripe_when_nobody_holds_it_and_its_time_has_come(db: None) -> None:
    past, future = timezone.now() - timedelta(minutes=1), timezone.now() + timedelta(minutes=1)
    account = AttemptFactory().account
    times = [(past, None), (future, None), (None, past), (None, future), (past, past)]
    rows = [AttemptFactory(account=account, lease_until=lease, not_before=before) for lease, before in times]
    ripe = set(Attempt.objects.filter(pk__in=[row.pk for row in rows]).ripe())
    assert ripe == {rows[0], rows[2], rows[4]}


def test_what_is_asked_of_a_provider_and_what_is_fetched_from_it(db: None) -> None:
    rows = {}
    account = AttemptFactory().account
    for number, state in enumerate(AttemptState):
        rows[state] = AttemptFactory(account=account, state=state, remote_id=str(number))
    AttemptFactory(account=account, state="unknown")  # its answer was lost: it has no number there
    AttemptFactory(account=account, state="ended", remote_id="done", collected_at=AT)
    assert {row.state for row in Attempt.objects.at_provider()} == {"accepted", "running", "stopping", "unknown"}
    assert rows[AttemptState.UNKNOWN] in Attempt.objects.at_provider()
    assert (Attempt.objects.at_provider().count(), list(Attempt.objects.to_collect())) == (
        4,
        [rows[AttemptState.ENDED]],
    )


@pytest.mark.parametrize("rule", ["two alive", "same number", "same remote job"])
def test_the_database_keeps_one_live_attempt_and_one_owner_of_a_remote_job(db: None, rule: str) -> None:
    first = AttemptFactory(remote_id="r-1")
    changes = {
        "two alive": {"job": first.job, "number": 2},
        "same number": {"job": first.job, "state": "ended"},
        "same remote job": {"account": first.account, "remote_id": "r-1"},
    }[rule]
    with pytest.raises(IntegrityError), transaction.atomic():
        AttemptFactory(**changes)


def test_an_attempt_consults_the_table() -> None:
    attempt = Attempt(state="ended")
    assert [state for state in AttemptState if attempt.may_become(state)] == []
    assert Attempt(state="sending").may_become(AttemptState.UNKNOWN) is True
