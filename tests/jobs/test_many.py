"""One act on many jobs: what is promised before, and what each job's own rules make of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portal.accounts.models import Organization, Project, User
from portal.accounts.roles import Role
from portal.billing.credits import grant_trial
from portal.billing.models import Hold
from portal.catalog.models import Price, ProviderAccount
from portal.jobs.many import Copy, copies_of, count_unsent, key_for, stop_many, stoppable, submit_copies
from portal.jobs.models import Job
from portal.jobs.offers import forget_offers
from portal.jobs.states import AttemptState, JobState
from tests.factories import (
    AttemptFactory,
    JobFactory,
    MembershipFactory,
    OfferingFactory,
    PriceFactory,
    ProviderAccountFactory,
    UserFactory,
)

KEY = "k" * 32


@pytest.fixture
def price(organization: Organization) -> Price:
    """A plan at 3,600 yen an hour, and credit to spend."""
    price = PriceFactory(offering=OfferingFactory(slug="plan", containers=True), amount=1, minimum_s=0)
    ProviderAccountFactory(provider=price.offering.provider)
    grant_trial(organization, founder=UserFactory())
    forget_offers()
    return price


def job_of(project: Project, price: Price, by: User, **fields: Any) -> Job:
    job: Job = JobFactory(project=project, price=price, submitted_by=by, **fields)
    return Job.objects.select_related("project", "organization", "price", "offering__provider").get(pk=job.pk)


def reasons(refused: list[Any]) -> dict[str, str]:
    return {one.job.name: str(one.why) for one in refused}


def test_only_what_can_be_stopped_is_promised(member: User, project: Project, price: Price) -> None:
    now = timezone.now()
    jobs = [
        job_of(project, price, member, name="waits"),
        job_of(project, price, member, name="ended", state=JobState.FAILED),
        job_of(project, price, member, name="stopping", state=JobState.RUNNING, stop_requested_at=now),
        job_of(project, price, member, name="saving", state=JobState.FINISHING),
        job_of(project, price, UserFactory(), name="a colleague's"),
    ]
    can, refused = stoppable(jobs, by=member)
    assert [job.name for job in can] == ["waits"]
    assert reasons(refused) == {
        "ended": "すでに終了しています。",
        "stopping": "すでに停止処理中です。",
        "saving": "計算は終わり、結果を保存しています。",
        "a colleague's": "この役割で停止できるのは、自分のジョブだけです。",
    }


def test_each_job_is_stopped_by_its_own_rules_and_twice_is_once(member: User, project: Project, price: Price) -> None:
    waits, runs = (job_of(project, price, member, name=name) for name in ("waits", "runs"))
    account = ProviderAccount.objects.get()
    AttemptFactory(job=waits, account=account)
    AttemptFactory(job=runs, account=account, state=AttemptState.RUNNING, remote_id="r1")
    Job.objects.filter(pk=runs.pk).update(state=JobState.RUNNING)
    ended = job_of(project, price, member, name="ended", state=JobState.SUCCEEDED)
    theirs = job_of(project, price, UserFactory(), name="theirs")

    for _sent in range(2):
        done, refused = stop_many([waits, runs, ended, theirs], by=member)
        assert [one.job.name for one in done] == ["waits", "runs"]
        assert sorted(reasons(refused)) == ["ended", "theirs"]

    states = dict(Job.objects.values_list("name", "state"))
    assert states == {"waits": "cancelled", "runs": "running", "ended": "succeeded", "theirs": "submitted"}
    assert [Job.objects.get(name=name).stop_requested_by for name in ("runs", "theirs")] == [member, None]


def test_a_manager_stops_those_of_everybody(manager: User, project: Project, price: Price) -> None:
    theirs = job_of(project, price, UserFactory())
    AttemptFactory(job=theirs, account=ProviderAccount.objects.get())
    done, refused = stop_many([theirs], by=manager)
    assert ([one.job for one in done], refused) == ([theirs], [])


def test_copies_are_the_same_jobs_at_todays_price_and_say_what_they_cost_at_most(
    member: User, project: Project, price: Price
) -> None:
    job = job_of(
        project, price, UserFactory(), name="train", command="python3 a.py", image="python:3.11", gpus=1,
        time_limit_s=1800, cost_cap=1000, environment={"A": "1"}, retries=1, state=JobState.FAILED,
    )  # fmt: skip
    copies, refused = copies_of([job], by=member, key=KEY)
    assert refused == []
    [copy] = copies
    assert (copy.most, copy.prices) == (1000, frozenset({price.pk}))  # twice 1,800 yen, but the cap is lower

    done, refused = submit_copies(copies, by=member, key=KEY)

    assert refused == []
    made = done[0].made
    assert made is not None and made.submitted_by == member and made.code != job.code
    same = ("name", "command", "image", "gpus", "time_limit_s", "cost_cap", "environment", "retries", "offering_id")
    assert [getattr(made, name) for name in same] == [getattr(job, name) for name in same]
    assert Hold.objects.get(job_code=made.code).amount == 1000


def test_sent_twice_each_copy_is_made_once(member: User, project: Project, price: Price) -> None:
    jobs = [job_of(project, price, member, name=name, image="a:1") for name in ("one", "two")]
    made = []
    for _sent in range(2):
        copies, _refused = copies_of(jobs, by=member, key=KEY, with_room=False)
        done, refused = submit_copies(copies, by=member, key=KEY)
        assert refused == []
        made.append([one.made for one in done])
    assert made[0] == made[1] and Job.objects.count() == 4
    assert (count_unsent(jobs, by=member, key=KEY), count_unsent(jobs, by=member, key="x" * 32)) == (0, 2)


def test_what_cannot_be_copied_says_why_and_keeps_nobody_else_back(
    member: User, organization: Organization, project: Project, price: Price
) -> None:
    closed = project.__class__.objects.create(organization=organization, name="closed", closed_at=timezone.now())
    gone = PriceFactory(offering=OfferingFactory(slug="gone", active=False))
    elsewhere = JobFactory(price=price, name="elsewhere")
    MembershipFactory(user=member, organization=elsewhere.organization, role=Role.VIEWER)
    jobs = [
        job_of(project, price, member, name="fine", image="a:1"),
        job_of(project, price, member, name="secret", image="a:1", secret_names=["TOKEN"]),
        job_of(closed, price, member, name="closed", image="a:1"),
        job_of(project, gone, member, name="gone", image="a:1"),
        job_of(project, price, member, name="too low", image="a:1", cost_cap=1),
        Job.objects.select_related("project", "organization").get(pk=elsewhere.pk),
    ]
    copies, refused = copies_of(jobs, by=member, key=KEY)
    assert [copy.job.name for copy in copies] == ["fine"]
    assert reasons(refused) == {
        "secret": "シークレットの値は保存されていません。個別に複製して、入力し直してください。",
        "closed": "プロジェクトが終了しています。",
        "gone": "このプランは現在ジョブに使えません。別のプランを選んでください。",
        "too low": reasons(refused)["too low"],
        "elsewhere": "このプロジェクトでの役割では、ジョブを作成できません。",
    }
    assert "¥60" in reasons(refused)["too low"]


def test_what_does_not_fit_into_what_is_left_is_told_before_and_refused_by_submit(
    member: User, project: Project, price: Price
) -> None:
    """Credit is 10,000 yen; each may cost 3,600."""
    jobs = [job_of(project, price, member, name=name, image="a:1", cost_cap=9999) for name in ("one", "two", "three")]
    copies, refused = copies_of(jobs, by=member, key=KEY)
    assert ([copy.job.name for copy in copies], list(reasons(refused))) == (["one", "two"], ["three"])
    assert reasons(refused)["three"].startswith("費用は最大¥3,600ですが、上のジョブの分を除くと残りは¥")

    all_of_them, _none = copies_of(jobs, by=member, key=KEY, with_room=False)
    done, refused = submit_copies(all_of_them, by=member, key=KEY)
    assert ([one.job.name for one in done], list(reasons(refused))) == (["one", "two"], ["three"])


def test_nobody_pays_another_price_than_the_page_showed(member: User, project: Project, price: Price) -> None:
    jobs = [job_of(project, price, member, name="one", image="a:1")]
    copies, _refused = copies_of(jobs, by=member, key=KEY, seen_prices=str(price.pk + 1000))
    done, refused = submit_copies(copies, by=member, key=KEY)
    assert (done, list(reasons(refused)), Job.objects.count()) == ([], ["one"], 1)


def test_many_copies_without_data_take_few_statements(member: User, project: Project, price: Price) -> None:
    jobs = [job_of(project, price, member, image="a:1", cost_cap=1000) for _job in range(3)]

    def looked() -> list[Copy]:
        forget_offers()
        return copies_of(jobs, by=member, key=KEY)[0]

    looked()
    with CaptureQueriesContext(connection) as asked:
        assert len(looked()) == 3
    assert len([q for q in asked if "jobs_jobinput" not in q["sql"]]) <= 10


def test_keys_of_copies_follow_from_form_and_job_alone(member: User, project: Project, price: Price) -> None:
    one, two = (job_of(project, price, member) for _job in range(2))
    assert len({key_for(one, KEY), key_for(two, KEY), key_for(one, "other")}) == 3
    assert key_for(one, KEY) == key_for(Job.objects.get(pk=one.pk), KEY)
    assert len(key_for(one, KEY)) == 64
