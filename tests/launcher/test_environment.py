import dj_database_url
import pytest

from portal.launcher import environment
from portal.launcher.errors import CannotContinue
from portal.launcher.messages import sentence
from portal.launcher.state_folder import StateFolder

MAIL = {"EMAIL_URL": "smtp://mail", "DEFAULT_FROM_EMAIL": "a@example.jp"}
S3 = {"S3_ENDPOINT": "https://s3.example", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}


@pytest.fixture
def state(tmp_path):
    state = StateFolder(tmp_path)
    state.take(url="http://localhost:8000/")
    yield state
    state.release()


def names(state, given):
    return {definition.program.name for definition in environment.embedded_services(state, given)}


def test_each_server_is_left_out_when_its_address_is_given(state):
    stores = {"s3", "s3copies"}
    assert names(state, {}) == {"postgres", "valkey", *stores}
    assert names(state, {"DATABASE_URL": "postgresql://db/portal"}) == {"valkey", *stores}
    assert names(state, {"BROKER_URL": "redis://cache/0"}) == {"postgres", *stores}
    assert names(state, {"STORAGE_SITES": "[]"}) == {"postgres", "valkey", "s3"}
    assert names(state, S3) == {"postgres", "valkey"}


def test_rabbitmq_as_broker_still_needs_a_cache(state):
    assert "valkey" in names(state, {"BROKER_URL": "amqp://mq/"})
    assert "valkey" not in names(state, {"BROKER_URL": "amqp://mq/", "CACHE_URL": "redis://cache/1"})


def test_what_the_user_has_set_wins(state):
    own = environment.for_django(
        state, url="http://localhost:8000", given={"SECRET_KEY": "mine", "BROKER_URL": "amqp://mq/"}
    )

    assert own["SECRET_KEY"] == "mine"
    assert own["BROKER_URL"] == "amqp://mq/"
    assert own["CACHE_URL"].startswith("unix:///")


def test_django_finds_the_socket_in_the_database_address(state):
    parsed = dj_database_url.parse(environment.for_django(state, url="", given={})["DATABASE_URL"])

    assert (parsed["NAME"], parsed["USER"], parsed["HOST"][0]) == ("portal", "portal", "/")


def test_before_the_first_start_there_is_nothing_to_point_at(tmp_path):
    state = StateFolder(tmp_path / "never-started")

    assert environment.for_django(state, url="") == {}
    assert not state.path.exists()


def test_production_without_its_servers_is_refused():
    with pytest.raises(CannotContinue) as problem:
        environment.check({"PORTAL_MODE": "production", "BROKER_URL": "amqp://mq/", "SECRET_KEY": "s", **MAIL})

    missing = "CREDENTIALS_KEYS, INSTALLATION_ID, PORTAL_URL, DATABASE_URL, S3_ENDPOINT, CACHE_URL"
    assert str(problem.value) == sentence("production_needs", names=missing)


def test_a_mode_that_does_not_exist_is_refused_before_anything_starts():
    with pytest.raises(CannotContinue) as problem:
        environment.check({"PORTAL_MODE": "prod"})

    assert str(problem.value) == sentence("no_such_mode", mode="prod")


def test_store_without_keys_is_refused():
    with pytest.raises(CannotContinue) as problem:
        environment.check({"S3_ENDPOINT": "https://s3.example", "S3_ACCESS_KEY": "a"})

    assert str(problem.value) == sentence("s3_needs_keys", names="S3_SECRET_KEY")
