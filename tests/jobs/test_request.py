from portal.catalog.models import Offering
from portal.jobs.models import Job
from portal.jobs.request import NAME_MAX, TIME_LIMIT_MAX_S, TIME_LIMIT_MIN_S, JobRequest


def test_a_request_shows_no_secret_when_it_is_logged() -> None:
    request = JobRequest("n", Offering(), 1, 60, 500, secrets={"TOKEN": "canary"}, environment={"WHERE": "canary"})
    assert "canary" not in repr(request)


def test_limits_fit_the_columns_that_hold_them() -> None:
    assert Job._meta.get_field("name").max_length == NAME_MAX
    assert (TIME_LIMIT_MIN_S, TIME_LIMIT_MAX_S) == (60, 1_728_000)
