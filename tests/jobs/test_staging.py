from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest
from django.utils import timezone

from portal.datasets import copies, copying, storage
from portal.datasets.models import DataFile, StorageSite
from portal.datasets.storage import StorageUnavailable
from portal.jobs import staging
from portal.jobs.models import Attempt, Job
from portal.jobs.states import WaitingReason
from portal.jobs.submission import submit
from portal.providers.base import Adapter
from tests.factories import DataFileFactory, DatasetFactory
from tests.jobs.conftest import Steps, attempt_of, fresh
from tests.jobs.fakes import FakeProvider, packed


class Bare(Adapter):
    """A provider with neither logs nor artifacts."""

    check = submit = find = get = list_jobs = cancel = None  # type: ignore[assignment]


Bare.__abstractmethods__ = frozenset()


def manifest_of(attempt: Attempt) -> dict[str, list[list[str]]]:
    lines: dict[str, list[list[str]]] = {}
    for line in storage.read(staging.manifest_key(attempt)).decode().splitlines():
        kind, *rest = line.split("\t")
        lines.setdefault(kind, []).append(rest)
    return lines


@pytest.fixture
def attempt(funded, member, account, request_for, storage_ready: None) -> Attempt:
    file = DataFileFactory(dataset=DatasetFactory(project=funded, folder="texts"), name="学習 用/words.txt")
    job = submit(
        funded,
        request=request_for(
            command="", script="print(1)\r\n", script_name="main.py", inputs=(file,), secrets={"TOKEN": "canary"}
        ),
        key="k",
        by=member,
    )
    return Attempt.objects.select_related("job__organization", "offering").get(job=job)


def test_what_goes_to_the_machine(attempt: Attempt) -> None:
    spec = staging.prepare(attempt, FakeProvider(), key="jga-test00-x")
    manifest = manifest_of(attempt)
    assert (spec.key, spec.plan, spec.gpus, spec.nodes, spec.gpu_type, spec.architecture, spec.time_limit_s) == (
        "jga-test00-x",
        "h100-80gb",
        1,
        1,
        "h100",
        "amd64",
        3600,
    )
    assert "canary" not in str(spec.environment) + spec.script
    assert manifest["input"][0][1:] == [attempt.job.inputs.get().sha256, "5", "texts/学習 用/words.txt"]
    assert manifest["script"][0][2:] == ["9", "main.py"]  # CRLF became LF
    assert storage.read(staging.script_key(attempt)) == b"print(1)\n"
    assert [name for name, _ in manifest["env"]] == ["TOKEN"]
    assert ("put-output" in manifest, "put-log" in manifest) == (False, False)


def test_an_architecture_that_nobody_confirmed_refuses_no_job(attempt: Attempt) -> None:
    attempt.offering.architecture_confirmed = False
    assert staging.prepare(attempt, FakeProvider(), key="k").architecture == ""


def test_a_job_with_an_image_waits_for_an_account_that_runs_images(
    job: Job, steps: Steps, provider: FakeProvider
) -> None:
    type(job.offering).objects.filter(pk=job.offering.pk).update(containers=True)
    provider.runs_images = False
    trouble = steps.hand_off().trouble
    assert trouble is not None and "container_runtime" in trouble.summary
    assert (fresh(job).state, fresh(job).waiting_reason, provider.calls) == ("submitted", "unreachable", [])
    provider.runs_images = True
    steps.pass_time(61)
    assert steps.hand_off().accepted == 1


def test_a_provider_without_logs_and_files_gets_addresses_to_put_them(attempt: Attempt) -> None:
    staging.prepare(attempt, Bare(), key="k")
    manifest = manifest_of(attempt)
    assert "output.tar.gz?" in manifest["put-output"][0][0]
    assert "log.part?" in manifest["put-log"][0][0]


def test_what_is_pushed_is_brought_file_by_file_and_has_no_address(attempt: Attempt) -> None:
    provider = FakeProvider()
    provider.pushes = True
    stored = attempt.job.inputs.get()
    storage.put_bytes(stored.data_file.storage_key, b"words")
    spec, kept = staging.prepare(attempt, provider, key="k"), []
    for _ in range(2):
        staging.push(attempt, provider, key="k", keep=lambda: kept.append(1))
    manifest = manifest_of(attempt)
    assert (dict(spec.environment), manifest["input"], manifest["script"][0][0]) == (
        {"PORTAL_JOB": attempt.job.code},
        [["file:input-0", stored.sha256, "5", "texts/学習 用/words.txt"]],
        "file:script",
    )
    assert provider.pushed == {
        "k/input-0": b"words",
        "k/script": b"print(1)\n",
        "k/manifest": storage.read(staging.manifest_key(attempt)),
    }
    assert len(kept) == 12  # for each file, and for each piece of it


@pytest.mark.parametrize("files_max", [2, 1])
def test_what_the_machine_has_sent_is_told_to_the_place_log_as_it_was_found(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, files_max: int
) -> None:
    """Whole, also where a part of it is not kept."""
    archive, sent = packed({"a.txt": b"a", "b.bin": random.Random(5).randbytes(3 * storage.MIB)}), b"hello\n"
    monkeypatch.setattr(staging, "FILES_MAX", files_max)
    storage.put_bytes(staging.output_key(attempt), archive)
    storage.put_bytes(staging.raw_log_key(attempt), sent)
    staging.collect(attempt, Bare(), found := staging.Collected())
    digest = hashlib.sha256(sent).hexdigest()
    assert [(one.code, one.key, one.size_bytes, one.sha256) for one in found.objects] == [
        ("sent-log-1", staging.raw_log_key(attempt), 6, digest),
        ("log-1", staging.log_key(attempt), 6, digest),
        ("sent-files-1", staging.output_key(attempt), len(archive), hashlib.sha256(archive).hexdigest()),
    ]


def copied_to(second_site: StorageSite, attempt: Attempt) -> DataFile:
    """The attempt's input, also at a site of the attempt's own provider."""
    file = attempt.job.inputs.get().data_file
    storage.put_bytes(file.storage_key, b"words")
    file.dataset.keepings.create(site=second_site, added_by=file.created_by)
    StorageSite.objects.filter(pk=second_site.pk).update(provider=attempt.offering.provider.slug)
    copies.place_unplaced()
    copies.plan(file.dataset.keepings.get().pk)
    copying.work(second_site, for_s=30)
    return file


def test_inputs_are_fetched_at_the_site_of_the_jobs_provider_while_it_answers(
    attempt: Attempt, second_site: StorageSite
) -> None:
    copied_to(second_site, attempt)
    buckets = []
    for failing_since in (None, timezone.now()):
        StorageSite.objects.filter(pk=second_site.pk).update(failing_since=failing_since)
        staging.prepare(attempt, FakeProvider(), key="k")
        buckets.append(manifest_of(attempt)["input"][0][0].split("?")[0].split("/")[3])
    assert buckets == [second_site.bucket, storage.primary().bucket]


def test_inputs_that_are_pushed_come_from_another_copy_when_their_site_is_away(
    attempt: Attempt, second_site: StorageSite, settings: Any
) -> None:
    file = copied_to(second_site, attempt)
    storage.delete(file.storage_key)  # only the copy is left
    provider = FakeProvider()
    provider.pushes = True
    staging.prepare(attempt, provider, key="k")
    staging.push(attempt, provider, key="k", keep=lambda: None)
    assert provider.pushed["k/input-0"] == b"words"

    storage.put_bytes(file.storage_key, b"WORDS")  # told apart from the copy
    settings.STORAGE_SITES = [{**settings.STORAGE_SITES[0], "endpoint": "http://127.0.0.1:9"}]
    with pytest.raises(StorageUnavailable):
        staging.push(attempt, provider, key="k", keep=lambda: None)
    staging.push(attempt, provider, key="k", keep=lambda: None)
    assert provider.pushed["k/input-0"] == b"WORDS"


@pytest.mark.parametrize(
    ("script_name", "command"),
    [("main.py", "python3 main.py"), ("run it.sh", "sh 'run it.sh'"), ("tool", "./tool"), ("", "sh main.sh")],
)
def test_a_script_without_a_command_is_run_by_its_name(script_name: str, command: str) -> None:
    assert staging.command_of(Job(script="x", script_name=script_name)) == command
    assert staging.command_of(Job(script="x", script_name=script_name, command="mine")) == "mine"


def test_what_the_format_cannot_carry_fails_openly(job: Job, steps: Steps, provider: FakeProvider) -> None:
    Job.objects.filter(pk=job.pk).update(environment={"not a name": "x"})
    steps.hand_off()
    assert (fresh(job).state, fresh(job).failure, provider.calls) == ("failed", "portal_fault", [])


def test_storage_out_of_reach_makes_the_job_wait(
    job: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise StorageUnavailable("503")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "put_bytes", down)
        steps.hand_off()
    assert (attempt_of(job).state, fresh(job).waiting_reason) == ("intended", WaitingReason.DATA_TRANSFER)
    steps.pass_time(2)
    assert steps.hand_off().accepted == 1
