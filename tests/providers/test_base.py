from portal.providers.base import Account, JobSpec, RegistryLogin, RemoteState


def test_only_what_waits_or_runs_has_not_ended() -> None:
    assert {state for state in RemoteState if not state.is_final} == {RemoteState.QUEUED, RemoteState.RUNNING}


def test_neither_credentials_nor_the_users_environment_are_shown() -> None:
    account = Account("slurm_ssh", "host:22", {"private_key": "canary"}, {"partition": "gpu"})
    login = RegistryLogin("ghcr.io", "alice", "canary")
    spec = JobSpec("key", "script", "gpu", 1, 60, environment={"TOKEN": "canary"}, registry=login)
    assert ("canary" in repr(account), "gpu" in repr(account), "canary" in repr(spec)) == (False, True, False)
