from datetime import date

from portal.catalog.models import Offering, Site
from portal.jobs.fitting import longest_s, refusals
from portal.jobs.request import JobRequest

TODAY = date(2026, 11, 24)


def fields(offering: Offering, **asked: object) -> list[str]:
    request = JobRequest(**{"name": "n", "offering": offering, "gpus": 1, "time_limit_s": 60, "cost_cap": 1, **asked})  # type: ignore[arg-type]
    return [refusal.field for refusal in refusals(request, offering, on=TODAY)]


def test_what_fits_is_not_refused() -> None:
    assert fields(Offering(kind="job", adapter="slurm_rest")) == []


def test_each_limit_is_named() -> None:
    whole_machine = Offering(
        kind="job", adapter="sakura_dok", gpus_min=8, gpus_max=8, containers=True, time_limit_max_s=600
    )
    assert fields(whole_machine, time_limit_s=601) == ["gpus", "time_limit", "image"]


def test_an_offering_that_has_ended_takes_no_jobs() -> None:
    assert fields(Offering(kind="job", adapter="slurm_rest", ends_on=date(2026, 11, 23))) == ["offering"]
    assert fields(Offering(kind="job", adapter="slurm_rest", ends_on=TODAY)) == []


def test_no_job_leaves_the_country() -> None:
    places = [Offering(kind="job", adapter="slurm_rest", site=Site(country=country)) for country in ("JP", "US")]
    assert [fields(place) for place in places] == [[], ["offering"]]


def test_a_job_that_sends_its_own_results_ends_while_it_can() -> None:
    places = (("sakura_dok", None), ("slurm_rest", None), ("slurm_rest", 3600))
    limits = [longest_s(Offering(adapter=adapter, time_limit_max_s=most)) for adapter, most in places]
    assert limits == [20 * 86_400, 6 * 86_400, 3600]
