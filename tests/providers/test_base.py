import pytest

from portal.providers.base import Account, JobSpec, RemoteState


@pytest.mark.parametrize(
    ("state", "is_final"), [(state, state not in (RemoteState.QUEUED, RemoteState.RUNNING)) for state in RemoteState]
)
def test_all_but_two_states_are_final(state: RemoteState, is_final: bool) -> None:
    assert state.is_final is is_final


def test_neither_credentials_nor_the_users_environment_are_shown() -> None:
    account = Account("slurm_ssh", "host:22", {"private_key": "canary"}, {"partition": "gpu"})
    spec = JobSpec("key", "script", "gpu", 1, 60, environment={"TOKEN": "canary"})
    assert ("canary" in repr(account), "gpu" in repr(account), "canary" in repr(spec)) == (False, True, False)
