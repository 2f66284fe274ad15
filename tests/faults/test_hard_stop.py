"""A running job ends at its provider inside what is held for it, whatever it or the provider does.

The emulators ignore time limits here, so that only the portal's own stops end a job. The whole set, 100 runs:
`python3 manage.py test tests/faults/test_hard_stop.py -m faults_full`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from portal.audit.models import AuditEvent
from portal.billing import budgets
from portal.billing.budgets import Terms, with_standings
from portal.billing.models import Budget, BudgetAction, BudgetPeriod, Hold
from portal.billing.verification import verify as verify_ledger
from portal.catalog.models import Offering
from portal.catalog.provider_accounts import adapter_of
from portal.jobs.ending import OVER_TIME_GRACE_S, End, end_of
from portal.jobs.extension import extend
from portal.jobs.models import Attempt, Job
from portal.jobs.request import JobRequest
from portal.jobs.submission import submit
from portal.jobs.verification import verify as verify_jobs
from tests.factories import PriceFactory
from tests.factories.billing import jst, metered
from tests.faults.rig import place
from tests.faults.scene import Scene
from tests.jobs.test_end_to_end import KINDS
from tests.providers.emulated import Emulator
from tests.providers.emulated import emulator as emulator_process

pytestmark = pytest.mark.django_db

HOLD = 500
OTHERS = 1050  # yen that another job has spent


@pytest.fixture(scope="module")
def deaf() -> Iterator[dict[str, Emulator]]:
    """Providers that end nothing by themselves."""
    with contextlib.ExitStack() as stack:
        start = [(kind, emulator_process(kind, "--running", "8", "--defect", "limits_are_ignored")) for kind in KINDS]
        yield {kind: stack.enter_context(process) for kind, process in start}


def running(scene: Scene, *, time_limit_s: int = 3600) -> Job:
    request = JobRequest(
        name="goes on and on",
        offering=scene.offering,
        gpus=scene.offering.gpus_min,
        time_limit_s=time_limit_s,
        cost_cap=HOLD,
        command="sleep 3600",
        image="python:3.11-slim" if scene.offering.containers else "",
    )
    job = submit(scene.project, request=request, key="form-1", by=scene.person)
    scene.until(scene.at_work)
    return job


def end(job: Job) -> End:
    attempt = Attempt.objects.select_related("job", "price").get(job=job)
    return end_of(attempt, held=Hold.objects.get(job_code=job.code).amount)


def runs_for(seconds: float) -> None:
    """As if it had begun so long ago; nothing of it is metered yet."""
    started_at = Attempt.objects.values_list("started_at", flat=True).get()
    assert started_at is not None
    back = timedelta(seconds=seconds) - (timezone.now() - started_at)
    earlier = {name: F(name) - back for name in ("started_at", "sent_at", "created_at")}
    Attempt.objects.update(**earlier)
    Job.objects.update(started_at=F("started_at") - back)


def over_its_cap(scene: Scene) -> str:
    runs_for(end(running(scene)).after_s - 0.5)
    return "over_budget"


def over_the_cap_that_grew(scene: Scene) -> str:
    job = running(scene)
    extend(job, seconds=900, seen_end_s=end(job).after_s, by=scene.person)
    runs_for(end(job).after_s - 0.5)
    return "over_budget"


def beyond_its_time_limit(scene: Scene) -> str:
    runs_for(end(running(scene, time_limit_s=60)).after_s + OVER_TIME_GRACE_S - 0.5)
    return "time_limit"


def in_a_budget_that_stops(scene: Scene) -> str:
    running(scene)
    metered(
        scene.project, scene.person, PriceFactory(amount="1", minimum_s=0, tax_percent=0), job_code="J-other",
        started_at=timezone.now() - timedelta(seconds=OTHERS), seconds=OTHERS, held=OTHERS,
    )  # fmt: skip
    budgets.create(
        scene.project.organization, project=scene.project, period=BudgetPeriod.FIXED, by=scene.person,
        terms=Terms(
            2 * OTHERS, at_50=BudgetAction.STOP, name="grant", first_day=jst(2020, 1, 2).date(),
            last_day=jst(2099, 1, 2).date(),
        ),
    )  # fmt: skip
    return "over_budget"


WAYS: dict[str, Callable[[Scene], str]] = {
    way.__name__: way for way in (over_its_cap, over_the_cap_that_grew, beyond_its_time_limit, in_a_budget_that_stops)
}


def stopped(kind: str, way: str, deaf: dict[str, Emulator], offerings: dict[str, Offering]) -> None:
    scene = Scene(deaf[kind], *place(offerings[kind], deaf[kind].account))
    failure = WAYS[way](scene)
    job = Job.objects.get()
    scene.until(lambda: not Attempt.objects.unfinished().exists())
    job.refresh_from_db()
    hold, attempt = Hold.objects.get(job_code=job.code), Attempt.objects.get()
    assert (job.state, job.failure) == ("expired", failure)
    assert adapter_of(attempt.account).get(attempt.remote_id).state.is_final
    assert 0 < job.cost == hold.used <= hold.amount <= job.cost_cap
    for budget, standing in with_standings(Budget.objects.all(), at=timezone.now()):
        assert standing.posted + standing.held <= budget.limit
    # What ran on while the provider was asked to end it was paid for, but where a whole time limit was ignored.
    overran = AuditEvent.objects.filter(act="charge.overrun").exists()
    assert overran == (way == "beyond_its_time_limit")
    broken = [problem for problem in verify_jobs() if problem.subject == job.code]  # the other one is money alone
    assert (hold.left, verify_ledger(), broken) == (0, [], [])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_inside_what_is_held(
    kind: str, way: str, deaf: dict[str, Emulator], offerings: dict[str, Offering], storage_ready: None
) -> None:
    stopped(kind, way, deaf, offerings)


@pytest.mark.faults_full
@pytest.mark.parametrize("number", range(100))
def test_it_ends_inside_what_is_held_in_a_hundred_of_a_hundred(
    number: int, deaf: dict[str, Emulator], offerings: dict[str, Offering], storage_ready: None
) -> None:
    kinds, ways = list(KINDS), list(WAYS)
    stopped(kinds[number % 3], ways[number // 3 % 4], deaf, offerings)
