from __future__ import annotations

import pytest
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from portal.accounts.access import NotPermitted
from portal.audit.models import AuditEvent
from portal.audit.verification import verify as verify_audit
from portal.billing.holds import OverBudget
from portal.billing.models import BillingAccount, Hold
from portal.billing.verification import verify as verify_ledger
from portal.jobs.models import Attempt, Job, JobEvent, JobInput, SubmitKey, Sweep, SweepTask
from portal.jobs.places import Refused
from portal.jobs.states import JobState
from portal.jobs.sweeps import again_of, submit_sweep, try_again
from portal.jobs.verification import verify
from tests.factories import DataFileFactory, DatasetFactory

POINTS = [{"LR": "0.1"}, {"LR": "0.01"}, {"LR": "0.001"}]


def ended(job: Job, state: JobState) -> None:
    """As an attempt that was never sent ends, without a charge."""
    from portal.billing import holds

    Attempt.objects.filter(job=job).update(state="ended", collected_at=job.submitted_at)
    holds.release(job.code, by="portal:test")
    if state is JobState.SUCCEEDED:
        job.move_to(JobState.RUNNING, by="portal:test")
        job.move_to(JobState.FINISHING, by="portal:test")
    job.move_to(state, by="portal:test")


def all_well() -> bool:
    assert [*verify(), *verify_ledger(), *verify_audit()] == []
    return True


def test_each_point_is_a_job_with_its_parameters_money_and_links(funded, member, account, request_for) -> None:
    file = DataFileFactory(dataset=DatasetFactory(project=funded, folder="texts"), name="words.txt")
    request = request_for(inputs=(file,), environment={"A": "1"}, secrets={"TOKEN": "canary"})
    sweep = submit_sweep(funded, request=request, points=POINTS, key="k", by=member)
    assert (sweep.task_count, sweep.names, sweep.name) == (3, ["LR"], "word statistics")
    assert list(SweepTask.objects.values_list("number", "turn", "newest", "parameters", "job__environment")) == [
        (n, 1, True, point, {"A": "1", **point, "TASK_NUMBER": str(n), "TASK_COUNT": "3"})
        for n, point in enumerate(POINTS, start=1)
    ]
    jobs = list(Job.objects.order_by("pk"))
    assert {(j.state, j.cost_cap, j.project_id, j.submitted_by_id, tuple(j.secret_names)) for j in jobs} == {
        ("submitted", 500, funded.pk, member.pk, ("TOKEN",))
    }
    assert [list(j.inputs.values_list("path", "sha256")) for j in jobs] == [[("texts/words.txt", file.sha256)]] * 3
    assert list(Attempt.objects.order_by("pk").values_list("job", "number", "account")) == [
        (j.pk, 1, account.pk) for j in jobs
    ]
    assert list(Hold.objects.order_by("pk").values_list("job_code", "amount")) == [(j.code, 500) for j in jobs]
    assert list(
        AuditEvent.objects.filter(act="job.submitted").order_by("sequence").values_list("subject", flat=True)
    ) == [f"job:{j.code}" for j in jobs]
    assert BillingAccount.objects.get(organization=funded.organization).held == 1500
    assert all_well()


def test_the_number_of_statements_does_not_grow_with_the_tasks(funded, member, account, request_for) -> None:
    def statements(count: int, key: str) -> int:
        with CaptureQueriesContext(connection) as made:
            points = [{"N": str(n)} for n in range(count)]
            submit_sweep(funded, request=request_for(cost_cap=20), points=points, key=key, by=member)
        return len(made)

    statements(2, "first")  # makes the purse and the trail
    assert statements(2, "a") == statements(100, "b")


def test_the_same_form_again_is_the_same_sweep_and_another_is_refused(funded, member, account, request_for) -> None:
    first = submit_sweep(funded, request=request_for(), points=POINTS, key="k", by=member)
    assert submit_sweep(funded, request=request_for(), points=POINTS, key="k", by=member) == first
    with pytest.raises(Refused):
        submit_sweep(funded, request=request_for(), points=POINTS[:2], key="k", by=member)
    assert (Sweep.objects.count(), Job.objects.count()) == (1, 3)


def test_money_for_all_or_for_none(funded, member, account, request_for) -> None:
    left = BillingAccount.objects.get(organization=funded.organization).credit
    too_many = [{"N": str(n)} for n in range(left // 500 + 1)]
    with pytest.raises(OverBudget) as raised:
        submit_sweep(funded, request=request_for(), points=too_many, key="k", by=member)
    assert raised.value.left == left
    assert (Sweep.objects.count(), Job.objects.count(), Hold.objects.count(), SubmitKey.objects.count()) == (0, 0, 0, 0)
    submit_sweep(funded, request=request_for(), points=too_many[:-1], key="k", by=member)
    assert Hold.objects.aggregate(all=Sum("amount"))["all"] == left // 500 * 500


def test_who_may_not_submit_makes_no_sweep(funded, viewer, account, request_for) -> None:
    with pytest.raises(NotPermitted):
        submit_sweep(funded, request=request_for(), points=POINTS, key="k", by=viewer)
    assert Job.objects.count() == 0


def test_too_many_rows_of_input_files_are_refused(funded, member, account, request_for, monkeypatch) -> None:
    monkeypatch.setattr("portal.jobs.sweeps.INPUTS_MAX", 2)
    file = DataFileFactory(dataset=DatasetFactory(project=funded))
    with pytest.raises(Refused) as raised:
        submit_sweep(funded, request=request_for(inputs=(file,)), points=POINTS, key="k", by=member)
    assert (raised.value.field, JobInput.objects.count()) == ("inputs", 0)


def test_failed_tasks_start_again_once_and_the_rest_stays(funded, member, account, request_for) -> None:
    file = DataFileFactory(dataset=DatasetFactory(project=funded))
    sweep = submit_sweep(funded, request=request_for(inputs=(file,)), points=POINTS, key="k", by=member)
    first, second, _third = (task.job for task in sweep.tasks.order_by("number").select_related("job"))
    ended(first, JobState.FAILED)
    ended(second, JobState.SUCCEEDED)
    assert (again_of(sweep).numbers, again_of(sweep).hold) == ((1,), 500)
    seen = again_of(sweep).price
    with pytest.raises(Refused):
        try_again(sweep, seen_price=seen + 1, by=member)  # the price has changed since
    assert (try_again(sweep, seen_price=seen, by=member), try_again(sweep, seen_price=seen, by=member)) == (1, 0)
    rows = SweepTask.objects.order_by("number", "turn").values_list("number", "turn", "newest", "parameters")
    assert list(rows) == [
        (1, 1, False, POINTS[0]), (1, 2, True, POINTS[0]), (2, 1, True, POINTS[1]), (3, 1, True, POINTS[2]),
    ]  # fmt: skip
    new = SweepTask.objects.get(number=1, newest=True).job
    assert (new.state, new.environment, new.command) == ("submitted", first.environment, first.command)
    assert list(new.inputs.values_list("path", flat=True)) == list(first.inputs.values_list("path", flat=True))
    assert JobEvent.objects.filter(job=new).values_list("after", flat=True).get() == "submitted"
    assert all_well()


def test_tasks_whose_secrets_are_gone_do_not_start_again(funded, member, account, request_for) -> None:
    sweep = submit_sweep(funded, request=request_for(secrets={"T": "x"}), points=POINTS, key="k", by=member)
    ended(sweep.tasks.get(number=1).job, JobState.FAILED)
    with pytest.raises(Refused):
        try_again(sweep, seen_price=again_of(sweep).price, by=member)
    assert (again_of(sweep).erased_secrets, Job.objects.count()) == (("T",), 3)


def test_another_organization_does_not_see_it(funded, member, account, request_for, stranger) -> None:
    sweep = submit_sweep(funded, request=request_for(), points=POINTS, key="k", by=member)
    assert list(Sweep.objects.visible_to(stranger)) == []
    assert list(Sweep.objects.visible_to(member)) == [sweep]
