from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from django.db import connection

from portal.accounts.models import Project, User
from portal.catalog.models import ProviderAccount
from portal.jobs import handoff, line, tasks
from portal.jobs.cancellation import ask_stop
from portal.jobs.line import Place
from portal.jobs.models import Attempt, Job
from portal.jobs.request import JobRequest
from portal.jobs.submission import submit
from portal.providers.base import RemoteState
from portal.providers.errors import OutcomeUnknown, Unavailable
from tests.jobs.conftest import Steps, attempt_of, fresh
from tests.jobs.fakes import FakeProvider


@pytest.fixture
def account(account: ProviderAccount) -> ProviderAccount:
    """It runs one at a time."""
    account.concurrent_limit = 1
    account.save()
    return account


@pytest.fixture
def three(funded: Project, member: User, account: ProviderAccount, request_for: Callable[..., JobRequest]) -> list[Job]:
    return [submit(funded, request=request_for(), key=f"form-{number}", by=member) for number in range(3)]


def shown(jobs: list[Job]) -> list[tuple[str, str, Place | None]]:
    return [(job.state, job.waiting_reason, line.place_of(job)) for job in map(fresh, jobs)]


def test_one_is_sent_and_the_others_are_told_their_place(
    three: list[Job], steps: Steps, provider: FakeProvider
) -> None:
    assert steps.hand_off().accepted == 1
    assert shown(three) == [
        ("queued", "", None),
        ("submitted", "quota", Place(1, at_once=1)),
        ("submitted", "quota", Place(2, at_once=1)),
    ]
    assert provider.calls == ["submit"]


def test_the_next_is_sent_when_one_has_ended(three: list[Job], steps: Steps, provider: FakeProvider) -> None:
    steps.hand_off()
    provider.becomes(RemoteState.RUNNING, started_at=datetime.now(UTC))
    assert steps.track().makes_room is False
    assert steps.hand_off().accepted == 0
    provider.becomes(RemoteState.SUCCEEDED, ended_at=datetime.now(UTC), exit_code=0)
    assert steps.track().makes_room is True
    assert steps.hand_off().accepted == 1
    assert [state for state, _, _ in shown(three)] == ["finishing", "queued", "submitted"]
    assert line.place_of(fresh(three[2])) == Place(1, at_once=1)


def test_a_limit_of_two_sends_two(three: list[Job], account: ProviderAccount, steps: Steps) -> None:
    ProviderAccount.objects.update(concurrent_limit=2)
    assert steps.hand_off().accepted == 2
    assert [place for _, _, place in shown(three)] == [None, None, Place(1, at_once=2)]


def test_without_a_limit_all_are_sent_and_nobody_stands_in_line(three: list[Job], steps: Steps) -> None:
    ProviderAccount.objects.update(concurrent_limit=None)
    assert steps.hand_off().accepted == 3
    assert shown(three) == [("queued", "", None)] * 3


def test_one_whose_answer_was_lost_keeps_its_place(three: list[Job], steps: Steps, provider: FakeProvider) -> None:
    provider.after = [OutcomeUnknown("reset")]
    steps.hand_off()
    assert [attempt_of(job).state for job in three] == ["unknown", "intended", "intended"]
    steps.pass_time(5)
    assert steps.hand_off().accepted == 1  # looked for and adopted, although there is no room for another
    assert [attempt_of(job).state for job in three] == ["accepted", "intended", "intended"]
    assert provider.calls == ["submit", "find"]


def test_one_that_was_not_received_gives_its_place_back(three: list[Job], steps: Steps, provider: FakeProvider) -> None:
    provider.before = [Unavailable("connection refused")]
    steps.hand_off()
    assert [waiting for _, waiting, _ in shown(three)] == ["unreachable"] * 3
    steps.pass_time(60)
    assert steps.hand_off().accepted == 1
    assert [(state, waiting) for state, waiting, _ in shown(three)] == [
        ("queued", ""),
        ("submitted", "quota"),
        ("submitted", "quota"),
    ]


def test_a_job_that_is_stopped_in_line_ends_at_once_and_the_others_move_up(
    three: list[Job], steps: Steps, member: User
) -> None:
    steps.hand_off()
    ask_stop(fresh(three[1]), by=member)
    assert [state for state, _, _ in shown(three)] == ["queued", "cancelled", "submitted"]
    assert line.place_of(fresh(three[2])) == Place(1, at_once=1)


def test_the_line_is_told_once(three: list[Job], steps: Steps) -> None:
    steps.hand_off()
    versions = [fresh(job).version for job in three]
    steps.hand_off()
    assert [fresh(job).version for job in three] == versions


def test_the_end_of_a_job_calls_the_next(
    three: list[Job], account: ProviderAccount, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(tasks, "publish", lambda task, *args: sent.append(task.name))
    steps.hand_off()
    provider.becomes(RemoteState.SUCCEEDED, started_at=datetime.now(UTC), ended_at=datetime.now(UTC), exit_code=0)
    tasks.track(account.pk)
    assert sent == ["jobs.hand_off", "jobs.collect"]


@pytest.fixture
def committed(transactional_db: None) -> Iterator[None]:
    yield


def test_workers_that_claim_together_are_given_one_place(
    committed: None, three: list[Job], account: ProviderAccount
) -> None:
    together = threading.Barrier(6)
    taken: list[handoff.Taken | None] = []

    def claim() -> None:
        try:
            together.wait(10)
            taken.append(handoff.take(account))
        finally:
            connection.close()

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(taken) == 6
    assert sum(one is not None for one in taken) == 1
    assert Attempt.objects.filter(state="sending").count() == 1
