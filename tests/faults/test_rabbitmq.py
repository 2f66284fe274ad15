"""RabbitMQ in the place of Valkey, by BROKER_URL alone: jobs go through, also while it is killed and started again, and
copies of data by the queue of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection

from portal.launcher.ports import accepts
from portal.launcher.processes import Child, Program, words
from tests.browser.conftest import free_port
from tests.faults.stack import Stack

SERVER, NAMES = Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), Path("/usr/bin/epmd")
pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(0),
    pytest.mark.skipif(not SERVER.exists(), reason="no RabbitMQ: apt-get install rabbitmq-server"),
]


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """A node of its own on loopback; `program.environment["URL"]` is its address."""
    folder, port, epmd_port = tmp_path_factory.mktemp("rabbitmq"), free_port(), free_port()
    (folder / "none").touch()
    names = Program(
        name="epmd",
        title="epmd",
        argv=words(NAMES, "-address", "127.0.0.1", "-port", epmd_port),  # its own, or a daemon would stay behind
        log=folder / "epmd.log",
        is_ready=lambda: accepts(epmd_port),
    )
    own = {
        "NODENAME": f"portal{port}@localhost",
        "NODE_IP_ADDRESS": "127.0.0.1",
        "NODE_PORT": port,
        "DIST_PORT": free_port(),
        "MNESIA_BASE": folder / "mnesia",
        "LOG_BASE": folder,
        "LOGS": "-",
        "ENABLED_PLUGINS_FILE": folder / "none",
        "CONF_ENV_FILE": folder / "none",
        "CONFIG_FILE": folder / "none",
        "GENERATED_CONFIG_DIR": folder / "generated",
        "PID_FILE": folder / "pid",
    }
    log = folder / "rabbitmq.log"
    node = Program(
        name="rabbitmq",
        title="RabbitMQ",
        argv=words(SERVER),
        log=log,
        is_ready=lambda: accepts(port),
        environment={
            "HOME": str(folder),  # the cookie lies there
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "URL": f"amqp://guest:guest@127.0.0.1:{port}//",
            **{f"RABBITMQ_{name}": str(value) for name, value in own.items()},
        },
    )
    children = [Child(names), Child(node)]
    try:
        for child in children:
            child.start()
            child.wait_until_ready(timeout_s=120)
        yield children[1]
    finally:
        for child in reversed(children):
            child.stop()


@pytest.fixture(scope="module")
def stack(rabbitmq: Child, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("stack-rabbitmq"))
    running.environment["BROKER_URL"] = rabbitmq.program.environment["URL"]
    own = {name: running.environment[f"S3_{name.upper()}"] for name in ("endpoint", "access_key", "secret_key")}
    site = {**own, "slug": "second", "bucket": f"{running.environment['S3_BUCKET']}-second", "region": "second"}
    running.environment["STORAGE_SITES"] = json.dumps([site])
    try:
        running.start()
        yield running
    finally:
        running.stop()


def test_rabbitmq_killed_while_forms_come_in(stack: Stack, rabbitmq: Child) -> None:
    def beat_has_sent() -> bool:
        return bool(stack.sql("SELECT 1 FROM home_heartbeat WHERE name = 'schedule'"))

    stack.wait_until(beat_has_sent)  # its connection is one of those that break
    with stack.submitting(30, every_s=0.05) as submitted:
        rabbitmq.end_group()
        rabbitmq.start()
        rabbitmq.wait_until_ready(timeout_s=120)
    assert submitted.slowest_s < 4
    stack.assert_all_handed_over_once(submitted.codes, f"RabbitMQ killed, slowest form {submitted.slowest_s:.2f} s")


def test_a_dataset_is_copied_by_the_queue_of_its_own(stack: Stack, rabbitmq: Child) -> None:
    with Connection(rabbitmq.program.environment["URL"]) as broker:
        assert broker.default_channel.queue_declare("data", passive=True).consumer_count
    code = stack.portal.manage(
        "shell", "-v", "0", "-c", "from tests.faults.dataset import send_and_keep; send_and_keep('second')"
    )

    def copy_is_verified() -> bool:
        return bool(
            stack.sql(
                "SELECT 1 FROM datasets_copy c JOIN datasets_dataset d ON d.id = dataset_id"
                " JOIN datasets_storagesite s ON s.id = site_id"
                " WHERE d.code = %s AND s.slug = 'second' AND c.state = 'verified'",
                code.strip(),
            )
        )

    stack.say(f"a file sent, verified and copied within {stack.wait_until(copy_is_verified):.1f} s")


@pytest.mark.faults_full
def test_rabbitmq_that_never_answers_keeps_no_form_waiting(stack: Stack, rabbitmq: Child) -> None:
    with stack.stopped(rabbitmq.pid):
        submitted = stack.submit(9)
    stack.assert_all_handed_over_once(submitted.codes, f"RabbitMQ stalled, slowest form {submitted.slowest_s:.2f} s")
    assert submitted.slowest_s < 4
