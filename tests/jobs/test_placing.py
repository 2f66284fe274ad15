"""Jobs that name their needs: what the rule is given, what is stored, and where they go when a plan has no free GPU."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.billing.models import Hold
from portal.catalog.models import CapacityObservation, Offering, Price, ProviderAccount
from portal.catalog.pricing import with_tax
from portal.jobs import collection, handoff, next_try, orphans, tracking
from portal.jobs.estimates import quote
from portal.jobs.models import Attempt, Job, JobEvent, Placement
from portal.jobs.moving import move
from portal.jobs.needs import decide, in_order, needs_of
from portal.jobs.offers import offers_at
from portal.jobs.placement.rule import Why
from portal.jobs.placement.spelling import canonical, decision_json, place_again, read_decision
from portal.jobs.places import Refused
from portal.jobs.placing import Past, forget_lately, lines_of, past_of, plain
from portal.jobs.request import JobRequest
from portal.jobs.submission import submit
from portal.jobs.sweeps import submit_sweep
from portal.providers.errors import OutcomeUnknown, Rejected, Unavailable
from tests.factories import (
    AttemptFactory,
    JobFactory,
    OfferingFactory,
    PriceFactory,
    ProviderAccountFactory,
    ProviderFactory,
)
from tests.jobs.conftest import Steps, fresh
from tests.jobs.fakes import FakeProvider

NO_GPU = Rejected("no GPU is free", failure="no_capacity")
PLANS = {"cheap": ("sakura", "0.10"), "middle": ("kddi", "0.20"), "dear": ("highreso", "0.30")}
KINDS = {"sakura": "sakura_dok", "kddi": "slurm_rest", "highreso": "slurm_ssh"}
HOUR_YEN = {"cheap": 360, "middle": 720, "dear": 1080}


@pytest.fixture
def plans(db: None) -> dict[str, Offering]:
    """One at each provider: an hour costs 360, 720 and 1,080 yen."""
    found = {}
    for slug, (provider, amount) in PLANS.items():
        offering = OfferingFactory(slug=slug, provider=ProviderFactory(slug=provider), adapter=KINDS[provider])
        PriceFactory(offering=offering, amount=amount, minimum_s=0)
        ProviderAccountFactory(provider=offering.provider, kind=KINDS[provider])
        found[slug] = offering
    return found


@pytest.fixture
def clouds(plans: dict[str, Offering], monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeProvider]:
    """By the plan's slug."""
    fakes = {slug: FakeProvider() for slug in plans}
    by_account = {accounts_of(plan).pk: fakes[slug] for slug, plan in plans.items()}
    for module in (handoff, tracking, collection, orphans):
        monkeypatch.setattr(module, "adapter_of", lambda account: by_account[account.pk])
    return fakes


def accounts_of(plan: Offering) -> ProviderAccount:
    return ProviderAccount.objects.get(provider=plan.provider)


def wanted(project: Project, *, cap: int = 2000, retries: int = 0, **needs: Any) -> JobRequest:
    offers = offers_at(timezone.now(), organization=project.organization)
    placed = decide(
        project, needs_of(needs), offers, gpus=1, time_limit_s=3600, cap_yen=cap, image="", template="", places=None,
        seed="a form", at=timezone.now(),
    )  # fmt: skip
    first, *others = [offer.offering for offer in in_order(placed, offers)]
    return JobRequest(
        name="n", offering=first, gpus=1, time_limit_s=3600, cost_cap=cap, command="true", alternatives=tuple(others),
        retries=retries, placed=placed,
    )  # fmt: skip


@pytest.fixture
def sent(funded: Project, member: User, plans: dict[str, Offering], storage_ready: None) -> Callable[..., Job]:
    def make(**needs: Any) -> Job:
        return submit(funded, request=wanted(funded, **needs), key=f"form-{Job.objects.count()}", by=member)

    return make


def went(job: Job) -> list[str]:
    return list(job.attempts.order_by("number").values_list("offering__slug", flat=True))


def hand_off_everywhere(plans: dict[str, Offering], times: int = 3) -> None:
    for _ in range(times):
        for plan in plans.values():
            Steps(accounts_of(plan).pk).hand_off()


# --- what the rule is given -------------------------------------------------------------------------------------------


def test_the_offer_says_what_catalog_price_and_observation_say(funded: Project, plans: dict[str, Offering]) -> None:
    CapacityObservation.objects.create(
        offering=plans["cheap"], state="few", free_gpus=2, observed_at=timezone.now() - timedelta(seconds=90)
    )
    now = timezone.now()
    told = {one.key: one for one in plain(offers_at(now, organization=funded.organization), at=now)}
    one = told[str(plans["cheap"].pk)]
    price = Price.objects.get(offering=plans["cheap"])
    assert (one.provider, one.gpu_model, one.memory_gb, one.country, one.architecture) == (
        "sakura", "H100", 80, "JP", "amd64",
    )  # fmt: skip
    assert (one.yen, one.unit_s, one.per_gpu, one.minimum_s) == (with_tax(price), 1, False, 0)
    assert (one.seen, one.free_gpus, one.answers, one.takes_logins) == ("few", 2, True, True)
    assert 90 <= one.seen_age_s <= 100
    assert told[str(plans["dear"].pk)].seen == ""


def test_what_a_candidate_costs_is_what_the_quote_says(funded: Project, plans: dict[str, Offering]) -> None:
    Price.objects.update(tax_included=False, minimum_s=7200)
    placed = wanted(funded, cap=999_999).placed
    assert placed is not None
    for one in placed.decision.candidates:
        price = Price.objects.select_related("offering").get(offering=int(one.key))
        assert one.yen == quote(price.offering, price, gpus=1, time_limit_s=3600).maximum


def test_the_last_attempts_tell_how_a_plan_takes_jobs(plans: dict[str, Offering]) -> None:
    cheap, now = plans["cheap"], datetime(2026, 12, 1, tzinfo=UTC)
    made = {"offering": cheap, "account": accounts_of(cheap), "created_at": now}

    def attempt(**values: Any) -> None:
        job = JobFactory(price=Price.objects.get(offering=cheap))
        AttemptFactory(job=job, **{**made, **values})

    for _ in range(3):  # forgotten: twenty came after them
        attempt(state="ended", last_error="no GPU is free")
    for wait_s in range(0, 190, 10):
        attempt(state="running", accepted_at=now, started_at=now + timedelta(seconds=wait_s))
    attempt(state="ended", last_error="no GPU is free")
    attempt(state="ended")  # stopped by a person before it was sent
    attempt(state="intended")
    assert past_of([cheap.pk, plans["dear"].pk]) == {cheap.pk: Past(tries=20, taken=19, wait_s=90)}


def test_a_line_counts_those_that_must_end_first(plans: dict[str, Offering]) -> None:
    account = accounts_of(plans["cheap"])
    ProviderAccount.objects.filter(pk=account.pk).update(concurrent_limit=2)
    told = []
    for state in ("running", "running", "intended"):
        AttemptFactory(job=JobFactory(price=Price.objects.get(offering=plans["cheap"])), account=account, state=state)
        told.append(lines_of([account.pk]))
    assert told == [{account.pk: 0}, {account.pk: 1}, {account.pk: 2}]


# --- submit -----------------------------------------------------------------------------------------------------------


def test_the_best_plan_is_the_jobs_and_the_others_in_the_cap_follow(sent: Callable[..., Job]) -> None:
    job = sent(cap=1000)
    assert (job.offering.slug, [one["slug"] for one in job.alternatives], job.strategy) == (
        "cheap", ["middle"], "cheapest",
    )  # fmt: skip
    assert Hold.objects.get(job_code=job.code).left == 720  # enough for the dearer of the two
    stored = Placement.objects.get(job=job)
    assert (stored.number, stored.chosen, stored.version) == (1, "cheap", "2026-12-01.2")
    assert canonical(decision_json(place_again(stored.input))) == canonical(stored.decision)
    assert [[reason.why for reason in one.reasons] for one in read_decision(stored.decision).refused] == [[Why.CAP]]
    assert JobEvent.objects.get(job=job, reason="submitted").detail == {
        "to": "cheap", "to_ja": job.offering.name_ja, "to_en": job.offering.name_en, "at_most_yen": 360,
        "strategy": "cheapest", "of": 2,
    }  # fmt: skip


def test_it_takes_one_statement_more_than_a_plan_chosen_by_hand(
    funded: Project, member: User, plans: dict[str, Offering]
) -> None:
    placed = wanted(funded, cap=500)
    by_hand = JobRequest(name="n", offering=plans["cheap"], gpus=1, time_limit_s=3600, cost_cap=500, command="true")
    counts = []
    for number, request in enumerate((by_hand, by_hand, placed)):
        with CaptureQueriesContext(
            connection,
        ) as statements:
            submit(funded, request=request, key=f"form-{number}", by=member)
        counts.append(len(statements))
    assert counts[2] - counts[1] == 1


def test_the_same_form_is_the_same_job_whatever_would_be_chosen_now(
    funded: Project, member: User, plans: dict[str, Offering]
) -> None:
    first = submit(funded, request=wanted(funded), key="form", by=member)
    Price.objects.filter(offering=plans["cheap"]).update(amount="0.25")
    again = wanted(funded)
    assert again.offering == plans["middle"]
    assert submit(funded, request=again, key="form", by=member) == first
    assert Placement.objects.count() == 1


def test_another_need_is_another_job(funded: Project, member: User, plans: dict[str, Offering]) -> None:
    submit(funded, request=wanted(funded), key="form", by=member)
    with pytest.raises(Refused) as refused:
        submit(funded, request=wanted(funded, gpu_memory="40"), key="form", by=member)
    assert refused.value.field == "key"


# --- fail-over --------------------------------------------------------------------------------------------------------

ORDERS = [order for count in range(4) for order in permutations(PLANS, count)]


@pytest.mark.parametrize("full", ORDERS, ids=lambda order: "-".join(order) or "none")
def test_whichever_plans_are_full_no_need_is_left_and_every_attempt_is_told(
    sent: Callable[..., Job], plans: dict[str, Offering], clouds: dict[str, FakeProvider], full: tuple[str, ...]
) -> None:
    """Each of them in turn has no free GPU; the cap lets the job go anywhere but to the dearest."""
    job = sent(cap=1000)
    for slug in full:
        clouds[slug].before = [NO_GPU] * 3
    hand_off_everywhere(plans)
    in_reach = ["cheap", "middle"]
    tried = [slug for slug in in_reach if slug in full and in_reach[: in_reach.index(slug)] == [
        before for before in in_reach[: in_reach.index(slug)] if before in full
    ]]  # fmt: skip
    taken = next((slug for slug in in_reach if slug not in full), None)
    expected = tried + ([taken] if taken else [])
    assert went(job) == expected
    job = fresh(job)
    assert (job.state, job.failure) == (("queued", "") if taken else ("failed", "no_capacity"))
    assert clouds["dear"].calls == []
    stored = list(job.placements.order_by("number"))
    assert [(one.number, one.chosen) for one in stored] == list(enumerate(expected, start=1))
    assert all(canonical(decision_json(place_again(one.input))) == canonical(one.decision) for one in stored)
    told = job.events.filter(reason__in=["submitted", "elsewhere"]).order_by("pk")
    assert [event.detail["at_most_yen"] for event in told] == [HOUR_YEN[slug] for slug in expected]


def test_at_a_fail_over_it_is_decided_by_what_is_known_then(
    sent: Callable[..., Job], plans: dict[str, Offering], clouds: dict[str, FakeProvider]
) -> None:
    """The one that came third at submit is the cheaper of those left by then."""
    job = sent(cap=1100)
    assert [one["slug"] for one in job.alternatives] == ["middle", "dear"]
    Price.objects.filter(offering=plans["dear"]).update(amount="0.15")
    clouds["cheap"].before = [NO_GPU]
    Steps(accounts_of(plans["cheap"]).pk).hand_off()
    assert went(job) == ["cheap", "dear"]
    second = read_decision(job.placements.get(number=2).decision)
    assert [one.key for one in second.candidates] == [str(plans["dear"].pk), str(plans["middle"].pk)]
    assert [(one.key, [reason.why for reason in one.reasons]) for one in second.refused] == [
        (str(plans["cheap"].pk), [Why.TRIED])
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"architecture": "arm64"}, None),  # it is another plan than the one named: not even listed
        ({"gpu_memory_gb": 40}, Why.MEMORY),
        ({"gpus_min": 2}, Why.GPUS),
        ({"gpu_model": "V100"}, Why.GPU_MODEL),
        ({"time_limit_max_s": 600}, Why.TIME_LIMIT),
    ],
)
def test_a_plan_that_changed_meanwhile_is_asked_again(
    sent: Callable[..., Job], plans: dict[str, Offering], clouds: dict[str, FakeProvider], change: dict, why: Why | None
) -> None:
    job = sent(cap=2000, gpu_model="H100", gpu_memory="80")
    Offering.objects.filter(slug="middle").update(**change)
    clouds["cheap"].before = [NO_GPU]
    Steps(accounts_of(plans["cheap"]).pk).hand_off()
    assert went(job) == ["cheap", "dear"]
    refused = {one.key: one for one in read_decision(job.placements.get(number=2).decision).refused}
    told = refused.get(str(plans["middle"].pk))
    assert (told.reasons[0].why if told else None) == why


def test_a_plan_that_costs_more_than_is_left_is_not_gone_to(
    sent: Callable[..., Job], plans: dict[str, Offering], clouds: dict[str, FakeProvider]
) -> None:
    job = sent(cap=800)
    Price.objects.filter(offering=plans["middle"]).update(amount="0.23")
    clouds["cheap"].before = [NO_GPU]
    hand_off_everywhere(plans)
    assert (went(job), fresh(job).state) == (["cheap"], "failed")


def test_a_project_that_was_closed_meanwhile_goes_nowhere(sent: Callable[..., Job]) -> None:
    job = sent()
    assert next_try.other_place(fresh(job)) is not None
    Project.objects.filter(pk=job.project_id).update(closed_at=timezone.now())
    assert next_try.other_place(fresh(job)) is None


def test_a_provider_that_cannot_be_reached_is_left_after_a_minute_with_all_its_plans(
    sent: Callable[..., Job], plans: dict[str, Offering], clouds: dict[str, FakeProvider], monkeypatch
) -> None:
    monkeypatch.setattr(handoff, "BEGAN", datetime(2026, 1, 1, tzinfo=UTC))
    beside = PriceFactory(
        offering=OfferingFactory(slug="beside", provider=plans["cheap"].provider, adapter="sakura_dok"), amount="0.11"
    ).offering
    job = sent()
    clouds["cheap"].before = [Unavailable("refused to connect")]
    Attempt.objects.update(created_at=datetime.now(UTC) - timedelta(seconds=61))
    Steps(accounts_of(plans["cheap"]).pk).hand_off()
    assert went(job) == ["cheap", "middle"]
    refused = {one.key: one for one in read_decision(job.placements.get(number=2).decision).refused}
    assert [reason.why for reason in refused[str(beside.pk)].reasons] == [Why.UNREACHABLE]


def test_while_an_answer_is_lost_nothing_is_decided(
    sent: Callable[..., Job], plans: dict[str, Offering], clouds: dict[str, FakeProvider]
) -> None:
    job = sent()
    clouds["cheap"].after, clouds["cheap"].hidden = [OutcomeUnknown("time-out")], True
    hand_off_everywhere(plans)
    assert (went(job), job.placements.count()) == (["cheap"], 1)


def test_a_job_that_somebody_moved_by_hand_still_keeps_its_needs_when_it_goes_on(
    sent: Callable[..., Job], plans: dict[str, Offering], clouds: dict[str, FakeProvider], member: User
) -> None:
    """Moved from the cheapest plan to the dearest, it goes on to none that has less memory than was asked for."""
    job = sent(cap=1100, gpu_memory="80")
    Job.objects.filter(pk=job.pk).update(waiting_reason="capacity")
    seen = Price.objects.get(offering=plans["dear"])
    move(fresh(job), plans["dear"], seen_price=seen.pk, by=member)
    Offering.objects.filter(slug="middle").update(gpu_memory_gb=40)
    clouds["dear"].before = [NO_GPU]
    hand_off_everywhere(plans)
    assert (went(job), fresh(job).state, fresh(job).strategy) == (["cheap", "dear"], "failed", "cheapest")


def test_each_task_of_a_sweep_knows_why_it_is_where_it_is(
    funded: Project, member: User, plans: dict[str, Offering], clouds: dict[str, FakeProvider], storage_ready: None
) -> None:
    request = wanted(funded, cap=800)
    sweep = submit_sweep(funded, request=request, points=[{"LR": "1"}, {"LR": "2"}], key="form", by=member)
    jobs = [task.job for task in sweep.tasks.select_related("job").order_by("number")]
    assert [(job.strategy, job.placements.get().chosen) for job in jobs] == [("cheapest", "cheap")] * 2
    clouds["cheap"].before = [NO_GPU] * 2
    hand_off_everywhere(plans)
    assert [went(job) for job in jobs] == [["cheap", "middle"]] * 2


# --- manage.py explain_placement --------------------------------------------------------------------------------------


def test_a_stored_decision_is_recomputed_by_a_command(
    sent: Callable[..., Job], capsys: pytest.CaptureFixture[str]
) -> None:
    job = sent(cap=1000)
    call_command("explain_placement", job.code)
    told = capsys.readouterr().out
    assert told.splitlines()[0].endswith(": equal")
    assert "  1. cheap: 360 yen, begins in 3600 s (wait 3600 s, assumed" in told
    assert "  -  dear: cap needs_yen=1080" in told
    stored = job.placements.get()
    stored.decision["candidates"].reverse()
    stored.save()
    with pytest.raises(SystemExit):
        call_command("explain_placement", job.code, "--json")
    assert '"equal": false' in capsys.readouterr().out


@pytest.fixture(autouse=True)
def _nothing_known_before() -> None:
    forget_lately()
