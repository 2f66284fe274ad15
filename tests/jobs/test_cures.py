"""What helps a failed job now, and that the form behind each link holds what the link promised."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone

from portal.accounts.models import Project, User
from portal.catalog.models import Offering, Price, ProviderAccount
from portal.jobs.cures import changed, cures_of
from portal.jobs.diagnosis import Diagnosis
from portal.jobs.failure_rules import Cause, Cure
from portal.jobs.models import Job
from portal.jobs.offers import offers_at, prices_of_offers
from portal.jobs.states import FailureClass
from tests.factories import JobFactory, OfferingFactory, PriceFactory, ProviderAccountFactory, ProviderFactory


def plan(slug: str, *, amount: str = "0.28", **fields: Any) -> Offering:
    """One that somebody runs; an hour costs 3,600 times `amount`, in yen."""
    price = PriceFactory(offering=OfferingFactory(slug=slug, **fields), amount=amount)
    if not ProviderAccount.objects.filter(provider=price.offering.provider).exists():
        ProviderAccountFactory(provider=price.offering.provider)
    return price.offering


@pytest.fixture
def small(db: None) -> Offering:
    return plan("small", gpu_model="V100", gpu_memory_gb=32, memory_gb=56, disk_gb=100)


@pytest.fixture
def job(small: Offering, project: Project, member: User) -> Job:
    price = Price.objects.get(offering=small)
    return JobFactory(project=project, submitted_by=member, price=price, state="failed", failure="program")


def found(job: Job, cause: Cause | None, failure: FailureClass = FailureClass.PROGRAM) -> list[tuple[str, str, int]]:
    """Each cure with the plan that its link names and the most that it can cost."""
    job.failure = failure
    diagnosis = Diagnosis(failure, cause) if cause else None
    cures = cures_of(job, diagnosis, now=timezone.now())
    return [(one.cure, parse_qs(urlsplit(one.url).query)["offering"][0], one.most) for one in cures]


def test_more_memory_is_the_cheapest_plan_that_has_more(job: Job) -> None:
    plan("larger", gpu_memory_gb=80, amount="0.50")
    plan("largest", gpu_memory_gb=141, amount="0.90")
    plan("cheaper and no larger", gpu_memory_gb=32, amount="0.10")
    plan("of another kind", gpu_memory_gb=180, architecture="arm64", amount="0.10")
    plan("with containers", gpu_memory_gb=180, containers=True, amount="0.10")
    plan("nobody knows", gpu_memory_gb=None, amount="0.10")
    plan("two at least", gpu_memory_gb=180, gpus_min=2, gpus_max=2, amount="0.10")
    assert found(job, Cause.CUDA_OUT_OF_MEMORY, FailureClass.OUT_OF_MEMORY) == [
        (Cure.MORE_GPU_MEMORY, "larger", 1800),
        (Cure.EDIT, "small", 1000),  # its own cap, which is less than the 1,008 yen of its hour
    ]


def test_a_job_in_an_image_stays_on_plans_that_run_containers(project: Project, member: User) -> None:
    own = Price.objects.get(offering=plan("own", containers=True, gpu_memory_gb=32))
    job = JobFactory(project=project, submitted_by=member, price=own, image="lab/app:1", failure="out_of_memory")
    plan("no image there", gpu_memory_gb=80, amount="0.10")
    plan("larger", containers=True, gpu_memory_gb=80, amount="0.50")
    assert found(job, Cause.CUDA_OUT_OF_MEMORY)[0] == (Cure.MORE_GPU_MEMORY, "larger", 1800)


@pytest.mark.parametrize(
    ("cause", "cure", "better"),
    [
        (Cause.HOST_OUT_OF_MEMORY, Cure.MORE_MEMORY, {"memory_gb": 240}),
        (Cause.DISK_FULL, Cure.MORE_DISK, {"disk_gb": 2000}),
        (Cause.WRONG_ARCHITECTURE, Cure.OTHER_ARCHITECTURE, {"architecture": "arm64"}),
        (Cause.GPU_NOT_SUPPORTED, Cure.OTHER_GPU, {"gpu_model": "H100"}),
    ],
)
def test_each_lack_has_its_own_better_plan(job: Job, cause: Cause, cure: Cure, better: dict[str, Any]) -> None:
    same = {"gpu_model": "V100", "gpu_memory_gb": 32, "memory_gb": 56, "disk_gb": 100}
    assert found(job, cause)[0][0] == Cure.EDIT  # as long as there is no such plan, nothing is promised
    plan("better", **{**same, **better})
    assert found(job, cause)[0] == (cure, "better", 1008)


def test_an_interrupted_job_may_run_again_or_elsewhere(job: Job) -> None:
    plan("weaker elsewhere", gpu_memory_gb=16, provider=ProviderFactory(slug="highreso"), amount="0.10")
    plan("elsewhere", gpu_memory_gb=80, provider=ProviderFactory(slug="highreso"), amount="0.40")
    assert found(job, Cause.PREEMPTED, FailureClass.INTERRUPTED) == [
        (Cure.AGAIN, "small", 1000),
        (Cure.OTHER_PROVIDER, "elsewhere", 1440),
    ]


def test_a_longer_limit_is_twice_the_old_one_as_far_as_the_plan_goes(job: Job, small: Offering) -> None:
    def longer() -> tuple[str, int]:
        one = cures_of(job, Diagnosis(FailureClass.TIME_LIMIT, Cause.TIME_LIMIT), now=timezone.now())[0]
        return one.cure, one.most

    assert longer() == (Cure.LONGER, 2016)
    Offering.objects.filter(pk=small.pk).update(time_limit_max_s=5400)
    assert longer() == (Cure.LONGER, 1512)
    Offering.objects.filter(pk=small.pk).update(time_limit_max_s=3600)
    assert longer()[0] == Cure.EDIT


def test_a_higher_cap_is_offered_only_where_the_cap_was_the_limit(job: Job) -> None:
    assert found(job, Cause.OVER_BUDGET, FailureClass.OVER_BUDGET)[0] == (Cure.HIGHER_CAP, "small", 1008)
    job.cost_cap = 5000  # a budget has stopped it
    assert found(job, Cause.OVER_BUDGET, FailureClass.OVER_BUDGET) == [(Cure.EDIT, "small", 1008)]


def test_what_may_go_elsewhere_or_begin_anew_can_cost_as_much(job: Job) -> None:
    plan("larger", gpu_memory_gb=80, amount="0.50")
    plan("dearer", gpu_memory_gb=32, amount="0.60")
    job.alternatives, job.retries = [{"slug": "dearer", "architecture": "amd64"}], 1
    assert found(job, Cause.CUDA_OUT_OF_MEMORY)[0] == (Cure.MORE_GPU_MEMORY, "larger", 2 * 2160)


def test_of_a_plan_that_is_sold_no_more_only_other_providers_are_left(job: Job, small: Offering) -> None:
    plan("larger", gpu_memory_gb=80)
    plan("elsewhere", gpu_memory_gb=80, provider=ProviderFactory(slug="highreso"))
    Offering.objects.filter(pk=small.pk).update(active=False)
    assert found(job, Cause.CUDA_OUT_OF_MEMORY) == []
    cure, _slug, most = found(job, Cause.INTERRUPTED, FailureClass.INTERRUPTED)[0]
    assert (cure, most) == (Cure.OTHER_PROVIDER, 1008)


def test_in_a_closed_project_nothing_is_offered(job: Job, project: Project) -> None:
    project.closed_at = timezone.now()
    job.project = project
    assert found(job, Cause.PYTHON_TRACEBACK) == []


def test_a_job_that_was_never_diagnosed_has_the_cures_of_its_class(job: Job) -> None:
    plan("elsewhere", gpu_memory_gb=80, provider=ProviderFactory(slug="highreso"))
    assert [cure for cure, *_rest in found(job, None, FailureClass.NO_CAPACITY)] == [Cure.OTHER_PROVIDER, Cure.AGAIN]
    assert [cure for cure, *_rest in found(job, None, FailureClass.PROGRAM)] == [Cure.EDIT]


def test_all_cures_take_one_statement(job: Job, django_assert_num_queries: Any) -> None:
    for number in range(5):
        plan(f"more-{number}", gpu_memory_gb=80, provider=ProviderFactory(slug="highreso"))
    job = Job.objects.select_related("project", "offering").get(pk=job.pk)
    job.failure = FailureClass.INTERRUPTED
    with django_assert_num_queries(1):
        assert len(cures_of(job, None, now=timezone.now())) == 2


def test_prices_in_one_query_are_those_of_the_offers(job: Job, project: Project) -> None:
    """Sold on request, ended, at nobody's account, not yet valid: the same are left out."""
    plan("elsewhere", provider=ProviderFactory(slug="highreso"), amount="0.10")
    plan("asked for", on_request=True)
    plan("ended", ends_on=timezone.localdate() - timedelta(days=2))
    plan("bare metal", kind="bare_metal")
    PriceFactory(offering=OfferingFactory(slug="run by nobody", adapter="slurm_rest"))
    PriceFactory(offering=plan("dearer tomorrow", amount="0.20"), valid_from=timezone.now() + timedelta(days=1))
    now, organization = timezone.now(), project.organization
    offers = [(offer.slug, offer.price.pk) for offer in offers_at(now, organization=organization)]
    rows = [(price.offering.slug, price.pk) for price in prices_of_offers(now, organization=organization)]
    assert rows == offers
    assert [slug for slug, _pk in rows] == ["elsewhere", "dearer tomorrow", "small"]


@pytest.mark.parametrize("cause", [Cause.CUDA_OUT_OF_MEMORY, Cause.TIME_LIMIT, Cause.OVER_BUDGET, Cause.PREEMPTED])
def test_the_form_behind_a_link_shows_the_quote_that_the_link_promised(
    client_of: Any, member: User, job: Job, cause: Cause
) -> None:
    plan("larger", gpu_memory_gb=80, amount="0.50", provider=ProviderFactory(slug="highreso"))
    for one in cures_of(job, Diagnosis(FailureClass(job.failure), cause), now=timezone.now()):
        shown = client_of(member).get(one.url).context
        assert shown["choice"].offer.slug == parse_qs(urlsplit(one.url).query)["offering"][0]
        assert (shown["hold"], shown["quote"].is_capped) == (one.most, one.most == job.cost_cap)


@pytest.mark.parametrize("limit", ["", "x", "１２", "-5", "9" * 30, "\0"])
def test_a_link_that_was_tampered_with_changes_nothing(limit: str) -> None:
    assert changed({"cost_cap": 5}, {"limit_s": limit, "cap": "9"}) == {"cost_cap": 5}
