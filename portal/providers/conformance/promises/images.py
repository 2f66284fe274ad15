"""Images that are fetched with a login."""

from __future__ import annotations

from portal.providers.base import PrivateImages, RegistryLogin
from portal.providers.conformance.bench import Bench
from portal.providers.conformance.kit import promise
from portal.providers.conformance.promises.finding import STRANGERS

LOGIN = RegistryLogin("registry.example.com", "conformance", "no-password-of-anybody")


@promise
def the_same_login_may_be_given_with_two_jobs_at_once(bench: Bench) -> str:
    """Their image is public; whether a private one is fetched needs a registry that is nobody's here."""
    adapter = bench.ability(PrivateImages)
    jobs = [bench.submit("true", registry=LOGIN) for _ in range(2)]
    for job in jobs:
        bench.adapter.cancel(job.remote_id)
    for job in jobs:
        adapter.forget_login(bench.wait(job).remote_id)
    return "both were taken"


@promise
def forgetting_a_login_may_be_repeated_and_is_quiet_where_there_is_none(bench: Bench) -> str:
    adapter = bench.ability(PrivateImages)
    without_login = bench.sample("good").job
    for remote_id in (without_login.remote_id, without_login.remote_id, *STRANGERS):
        adapter.forget_login(remote_id)
    return f"twice for one job, and for {len(STRANGERS)} that nobody knows"
