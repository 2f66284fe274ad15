"""One job per kind of provider: real adapter, its emulator in a process of its own, real storage, real money."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest

from portal.accounts.models import Project, User
from portal.billing.models import BillingAccount
from portal.catalog.models import Offering, ProviderAccount
from portal.catalog.provider_accounts import adapter_of
from portal.core import failpoints
from portal.core.sealing import seal
from portal.datasets import storage
from portal.jobs import handoff, logs, reconciliation, staging, tracking
from portal.jobs.cancellation import ask_stop
from portal.jobs.keys import key_of
from portal.jobs.models import Artifact, Job
from portal.jobs.request import JobRequest
from portal.jobs.submission import submit
from portal.providers.base import Account
from portal.providers.bootstrap import BootstrapExit
from portal.providers.errors import OutcomeUnknown
from tests.factories import (
    DataFileFactory,
    DatasetFactory,
    OfferingFactory,
    PriceFactory,
    ProviderAccountFactory,
    ProviderFactory,
    RegistryLoginFactory,
)
from tests.providers.emulated import emulator as emulator_process

WORDS = "りんご apple りんご\n".encode()
SCRIPT = """import os, pathlib
text = pathlib.Path(os.environ["PORTAL_DATA_DIR"], "果物", "words.txt").read_text()
print("words:", len(text.split()), os.environ["GREETING"], len(os.environ["TOKEN"]), flush=True)
out = pathlib.Path(os.environ["PORTAL_OUTPUT_DIR"], "結果")
out.mkdir()
(out / "counts.csv").write_text("りんご,2\\napple,1\\n")
"""
KINDS = {
    "sakura_dok": {"slug": "sakura", "plan": "h100-80gb", "containers": True},
    "slurm_rest": {
        "slug": "kddi", "plan": "gb200", "gpu_model": "GB200", "architecture": "arm64",
        "gpus_min": 4, "gpus_max": 8, "gpus_step": 4,
    },
    "slurm_ssh": {"slug": "highreso", "plan": "gpu", "gpu_model": ""},
}  # fmt: skip
# And a cluster whose machines reach nothing outside.
PUSHED = {"slurm_ssh, pushed": {**KINDS["slurm_ssh"], "options": {"staging": "push"}}}


@pytest.fixture(params=KINDS | PUSHED)
def place(
    request: pytest.FixtureRequest, db: None, emulator: Callable[[str], Account]
) -> tuple[Offering, ProviderAccount]:
    kind, facts = request.param.partition(",")[0], dict((KINDS | PUSHED)[request.param])
    reached, options = emulator(kind), facts.pop("options", {})
    provider = ProviderFactory(slug=facts.pop("slug"))
    offering = OfferingFactory(provider=provider, site=None, adapter=kind, gpus_per_node=4, **facts)
    PriceFactory(offering=offering)
    account = ProviderAccountFactory(
        provider=provider,
        kind=kind,
        endpoint=reached.endpoint,
        sealed_credentials=seal(dict(reached.credentials)),
        options={**reached.options, **options},
        emulated=True,
    )
    return offering, account


@pytest.fixture
def start(
    place: tuple[Offering, ProviderAccount], funded: Project, member: User, storage_ready: None
) -> Callable[..., Job]:
    offering, _ = place

    def run(**what: object) -> Job:
        asked: dict[str, object] = {
            "name": "words",
            "offering": offering,
            "gpus": offering.gpus_min,
            "time_limit_s": 600,
            "cost_cap": 500,
            "image": "python:3.11-slim" if offering.containers else "",
            **what,
        }
        return submit(funded, request=JobRequest(**asked), key="k", by=member)  # type: ignore[arg-type]

    return run


def carry_on(job: Job, account: ProviderAccount, until: Callable[[Job], bool], within_s: float = 60) -> Job:
    """What the tasks do, in a row, until the job is as wanted."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        handoff.hand_off_due(account)
        tracking.track(account.pk)
        tracking.follow_logs(account.pk)
        reconciliation.collect_due(account.pk)
        now = Job.objects.get(pk=job.pk)
        if until(now):
            return now
        time.sleep(0.3)
    raise AssertionError(f"{now.state} {now.waiting_reason} {now.attempts.get().last_error}")


def test_a_job_reads_its_input_and_leaves_its_results(place, start, funded, organization) -> None:
    file = DataFileFactory(
        dataset=DatasetFactory(project=funded, folder="果物"),
        name="words.txt",
        size_bytes=len(WORDS),
        sha256=sha256(WORDS).hexdigest(),
    )
    storage.put_bytes(file.storage_key, WORDS)
    job = start(
        script=SCRIPT,
        script_name="main.py",
        inputs=(file,),
        environment={"GREETING": "hi"},
        secrets={"TOKEN": "canary"},
    )
    done = carry_on(job, place[1], lambda now: now.is_final)
    text = [line.text for line in logs.tail(done)]
    assert (done.state, done.failure, text) == ("succeeded", "", ["words: 3 hi 6"])
    assert storage.read(done.log_key) == b"words: 3 hi 6\n"
    content = "りんご,2\napple,1\n".encode()
    assert list(Artifact.objects.filter(job=done).values_list("path", "size_bytes", "sha256")) == [
        ("結果/counts.csv", len(content), sha256(content).hexdigest())
    ]
    assert done.cost >= 16
    purse = BillingAccount.objects.get(organization=organization)
    assert (purse.held, purse.posted) == (0, done.cost)
    assert done.sealed_secrets == ""


def test_a_program_that_fails_keeps_its_log(place, start) -> None:
    job = start(command="echo before; exit 3")
    done = carry_on(job, place[1], lambda now: now.is_final)
    assert (done.state, done.failure, done.exit_code) == ("failed", "program", 3)
    assert [line.text for line in logs.tail(done)] == ["before"]


def test_a_running_job_is_stopped_and_what_it_wrote_is_kept(place, start, member) -> None:
    job = start(command='echo started; echo partial > "$PORTAL_OUTPUT_DIR/partial.txt"; exec sleep 300')
    running = carry_on(job, place[1], lambda now: now.state == "running")
    time.sleep(1.5)
    assert ask_stop(running, by=member) is True
    done = carry_on(job, place[1], lambda now: now.is_final)
    assert (done.state, [line.text for line in logs.tail(done)]) == ("cancelled", ["started"])
    assert done.ended_at is not None and done.cost > 0


def test_a_private_image_runs_with_the_organizations_login_and_costs_nothing_without_it(
    funded: Project, member: User, storage_ready: None
) -> None:
    asked = JobRequest("train", OfferingFactory(containers=True), 1, 600, 500, command="echo inside")
    asked = replace(asked, image="registry.example.jp/team/train:1")
    PriceFactory(offering=asked.offering)
    with emulator_process("sakura_dok", "--private-registry", "registry.example.jp,robot,canary-password") as running:
        account = ProviderAccountFactory(
            provider=asked.offering.provider,
            endpoint=running.account.endpoint,
            sealed_credentials=seal(dict(running.account.credentials)),
            emulated=True,
        )
        refused = submit(funded, request=asked, key="k1", by=member)
        refused = carry_on(refused, account, lambda now: now.is_final)
        RegistryLoginFactory(organization=funded.organization, hostname="registry.example.jp", username="robot")
        done = submit(funded, request=asked, key="k2", by=member)
        done = carry_on(done, account, lambda now: now.is_final)
        assert running.kept_logins() == []
    assert (refused.state, refused.failure, refused.cost) == ("failed", "image", 0)
    assert (done.state, [line.text for line in logs.tail(done)]) == ("succeeded", ["inside"])


@pytest.mark.parametrize("place", ["sakura_dok"], indirect=True)
def test_of_two_copies_at_a_provider_without_a_shared_disk_one_runs(
    place, start, organization, live_server, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer was lost, and a late request made a second copy before anybody looked."""
    settings.MACHINES_URL = live_server.url
    job, account = start(command="echo ran"), place[1]

    def answer_lost() -> None:
        raise OutcomeUnknown("reset")

    with monkeypatch.context() as patch:
        patch.setitem(failpoints.armed, "handoff.after_send", answer_lost)
        handoff.hand_off_due(account)
    attempt, adapter = job.attempts.select_related("job__organization", "offering").get(), adapter_of(account)
    adapter.submit(staging.prepare(attempt, adapter, key=key_of(attempt)))
    deadline = time.monotonic() + 60
    copies = adapter.find(key_of(attempt))
    while time.monotonic() < deadline and not all(copy.state.is_final for copy in copies):
        time.sleep(0.3)
        copies = adapter.find(key_of(attempt))
    assert sorted(copy.exit_code or 0 for copy in copies) == [0, BootstrapExit.SECOND_COPY]
    done = carry_on(job, account, lambda now: now.is_final)
    ran = next(copy.remote_id for copy in copies if copy.exit_code == 0)
    assert (done.state, [line.text for line in logs.tail(done)], done.attempts.get().remote_id) == (
        "succeeded",
        ["ran"],
        ran,
    )
    purse = BillingAccount.objects.get(organization=organization)
    assert (purse.held, purse.posted) == (0, done.cost)
