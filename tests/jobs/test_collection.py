from __future__ import annotations

import io
import random
import tarfile
import threading
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import override

from portal.core import failpoints
from portal.datasets import cleaning, residency, storage
from portal.jobs import collection, logs, staging
from portal.jobs.models import Artifact, Attempt, Job, JobEvent
from portal.providers.base import RemoteState
from portal.providers.errors import Unavailable
from tests.jobs.conftest import Steps, attempt_of, fresh
from tests.jobs.fakes import FakeProvider, packed


@pytest.fixture
def ended(job: Job, steps: Steps, provider: FakeProvider) -> Job:
    """It ran for 100 s, wrote two lines and one file, and came to exit code 0."""
    steps.hand_off()
    Attempt.objects.update(sent_at=datetime.now(UTC) - timedelta(hours=1))
    end = datetime.now(UTC)
    provider.output = b"hello\nworld\n"
    provider.files = {"./out/result.txt": b"42\n"}
    provider.becomes(RemoteState.SUCCEEDED, started_at=end - timedelta(seconds=100), ended_at=end, exit_code=0)
    steps.track()
    return job


def artifacts(job: Job) -> list[tuple[str, int, str]]:
    return list(Artifact.objects.filter(job=job).order_by("path").values_list("path", "size_bytes", "sha256"))


def test_log_and_results_are_in_storage_when_the_job_is_done(ended: Job, steps: Steps, provider: FakeProvider) -> None:
    assert steps.collect() == 1
    done = fresh(ended)
    assert (done.state, done.exit_code, done.log_lines) == ("succeeded", 0, 2)
    assert storage.read(done.log_key) == b"hello\nworld\n"
    assert [(line.number, line.text) for line in logs.tail(done)] == [(1, "hello"), (2, "world")]
    assert artifacts(done) == [("out/result.txt", 3, sha256(b"42\n").hexdigest())]
    assert storage.read(Artifact.objects.get(job=done).storage_key) == b"42\n"
    assert storage.size_of(staging.manifest_key(attempt_of(ended))) is None


def places(job: Job) -> list[tuple[str, str, int, str, bool, bool]]:
    """Of the report: what it is, where, how large, its hash; whether it was read back, and whether it is there."""
    return sorted(
        (stay.label, stay.key, stay.size_bytes, stay.sha256, stay.verified_at is not None, stay.left_at is None)
        for stay in residency.report(job.code)
    )


def test_the_place_log_has_what_a_job_needed_and_left(ended: Job, steps: Steps, provider: FakeProvider) -> None:
    attempt, here, told, read_back = attempt_of(ended), True, False, True
    manifest = storage.read(staging.manifest_key(attempt))
    needed = ("Command, variables and secrets for run 1", staging.manifest_key(attempt))
    facts = (len(manifest), sha256(manifest).hexdigest())
    with override("en"):
        assert places(ended) == [(*needed, *facts, told, here)]
        steps.collect()
        result = Artifact.objects.get(job=ended)
        log = ("Log of run 1", staging.log_key(attempt), 12, sha256(provider.output).hexdigest())
        assert places(ended) == [
            (*needed, *facts, told, not here),
            (*log, read_back, here),
            ("out/result.txt", result.storage_key, 3, result.sha256, read_back, here),
        ]
    stays = {stay.label: stay for stay in residency.report(ended.code)}
    assert stays["out/result.txt"].verified_at == result.verified_at == result.created_at
    assert {(stay.site, stay.endpoint, stay.bucket) for stay in stays.values()} == {
        ("primary", storage.primary().endpoint, storage.primary().bucket)
    }


def file_key(job: Job, path: str) -> str:
    return f"{staging.folder(attempt_of(job))}/files/{sha256(path.encode()).hexdigest()[:24]}"


class FailingStore:
    """Some bytes change between their arrival at the store and the moment they are read back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
        self.keys = set(keys)
        self.written: list[str] = []
        monkeypatch.setitem(failpoints.armed, "collect.after_put", self.spoil)

    def spoil(self) -> None:
        for key in self.keys:
            if storage.size_of(key) is not None:
                storage.put_bytes(key, b"4 \n")
                self.written.append(key)


def told(job: Job, *reasons: str) -> list[tuple[str, dict[str, object]]]:
    return list(JobEvent.objects.filter(job=job, reason__in=reasons).order_by("pk").values_list("reason", "detail"))


def test_what_is_damaged_in_the_store_is_sent_again(
    ended: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.files = {"out/result.txt": b"42\n", "good.txt": b"good"}
    store = FailingStore(monkeypatch, file_key(ended, "out/result.txt"))
    assert (steps.collect(), fresh(ended).state, artifacts(ended)) == (0, "finishing", [])
    assert storage.size_of(file_key(ended, "out/result.txt")) is None
    store.keys.clear()
    steps.pass_time(120)
    assert (steps.collect(), fresh(ended).state) == (1, "succeeded")
    assert [(path, size) for path, size, _sha256 in artifacts(ended)] == [("good.txt", 4), ("out/result.txt", 3)]
    assert storage.read(file_key(ended, "out/result.txt")) == b"42\n"
    assert told(ended, "results_damaged", "results_lost") == []


def test_what_stays_damaged_is_said_and_never_listed(
    ended: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.files = {"out/result.txt": b"42\n", "good.txt": b"good"}
    bad = [file_key(ended, "out/result.txt"), staging.log_key(attempt_of(ended))]
    store = FailingStore(monkeypatch, *bad)
    tries = 0
    while not steps.collect():
        tries += 1
        steps.pass_time(130)
    done = fresh(ended)
    assert (tries, done.state, done.log_key, done.log_lines) == (collection.DAMAGED_TRIES - 1, "succeeded", "", 2)
    assert [path for path, _size, _sha256 in artifacts(ended)] == ["good.txt"]
    assert told(ended, "log_damaged", "results_damaged", "results_lost") == [
        ("log_damaged", {}),
        ("results_damaged", {"count": 1, "paths": ["out/result.txt"]}),
    ]
    assert (set(store.written), [storage.size_of(key) for key in bad]) == (set(bad), [None, None])
    stays = {stay.key: stay for stay in residency.report(ended.code)}
    assert [(stays[key].left_at is None, stays[key].damaged_at is None, stays[key].verified_at) for key in bad] == [
        (False, False, None),
        (False, False, None),
    ]


def test_a_worker_killed_in_the_middle_leaves_what_it_sent_to_the_next(
    ended: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    provider.output, provider.files = b"", {f"{n}.txt": b"%d" % n for n in range(4)}
    puts: list[str] = []
    put = storage.put_stream
    monkeypatch.setattr(storage, "put_stream", lambda key, pieces: puts.append(key) or put(key, pieces))

    def die_after_the_third() -> None:
        if len(puts) == 1 + 3:
            raise Killed

    monkeypatch.setitem(failpoints.armed, "collect.after_put", die_after_the_third)
    with pytest.raises(Killed):
        steps.collect()
    puts.clear()
    failpoints.armed.clear()
    steps.pass_time(collection.LEASE_S + 1)
    assert steps.collect() == 1
    assert puts == [staging.log_key(attempt_of(ended)), file_key(ended, "3.txt")]
    assert [(path, size) for path, size, _sha256 in artifacts(ended)] == [(f"{n}.txt", 1) for n in range(4)]


@pytest.mark.parametrize("count", [1, 30])
def test_the_place_log_costs_the_same_for_one_result_and_for_many(
    ended: Job, steps: Steps, provider: FakeProvider, count: int
) -> None:
    provider.files = {f"{n}.txt": b"x" for n in range(count)}
    with CaptureQueriesContext(connection) as asked:
        steps.collect()
    assert len([q for q in asked if "datasets_placeevent" in q["sql"]]) == 3
    assert len(artifacts(ended)) == count


def test_results_that_a_later_run_wrote_anew_leave_the_place_log_when_they_are_removed(
    ended: Job, steps: Steps, provider: FakeProvider
) -> None:
    old = f"{staging.folder(attempt_of(ended))}/files/before"
    before = Artifact(job=ended, path="out/result.txt", size_bytes=1, sha256="0" * 64, storage_key=old)
    before.save()
    residency.job_objects_arrived(ended.code, ended.organization.code, [staging.artifact_object(before)])
    storage.put_bytes(old, b"x")
    steps.collect()
    there = {stay.key: stay.left_at is None for stay in residency.report(ended.code) if stay.name == "out/result.txt"}
    new = Artifact.objects.get(job=ended).storage_key
    assert there == {old: True, new: True}
    cleaning.remove_leftovers(timezone.now() + timedelta(days=2))
    there = {stay.key: stay.left_at is None for stay in residency.report(ended.code) if stay.name == "out/result.txt"}
    assert (there, storage.size_of(old)) == ({old: False, new: True}, None)


def test_secrets_that_could_not_be_deleted_are_removed_with_the_leftovers(
    ended: Job, steps: Steps, provider: FakeProvider
) -> None:
    key = staging.manifest_key(attempt_of(ended))
    provider.pushes = True
    provider.down = Unavailable("connection refused")
    Attempt.objects.update(ended_at=datetime.now(UTC) - timedelta(hours=7))
    steps.collect()
    assert (fresh(ended).state, storage.size_of(key) is None) == ("succeeded", False)
    cleaning.remove_leftovers(timezone.now() + timedelta(days=2))
    assert storage.size_of(key) is None
    assert [stay.left_at is None for stay in residency.report(ended.code) if stay.key == key] == [False]


def test_results_are_kept_where_only_the_secrets_could_not_be_taken_back(
    ended: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(key: str) -> None:
        raise Unavailable("busy")

    provider.pushes = True
    monkeypatch.setattr(provider, "take_back", refuse)
    Attempt.objects.update(ended_at=datetime.now(UTC) - timedelta(hours=7))
    steps.collect()
    done = fresh(ended)
    assert (done.state, [path for path, _size, _sha256 in artifacts(done)], told(done, "results_lost")) == (
        "succeeded",
        ["out/result.txt"],
        [],
    )
    assert storage.read(done.log_key) == b"hello\nworld\n"


def test_again_changes_nothing(ended: Job, steps: Steps, provider: FakeProvider) -> None:
    steps.collect()
    before = fresh(ended).version
    assert steps.collect() == 0
    assert (fresh(ended).version, len(artifacts(ended))) == (before, 1)


def test_a_worker_killed_before_settling_is_made_good_by_the_next(
    ended: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    monkeypatch.setitem(failpoints.armed, "collect.before_settle", die)
    with pytest.raises(Killed):
        steps.collect()
    failpoints.armed.clear()
    assert fresh(ended).state == "finishing"
    assert steps.collect() == 0  # the lease still runs
    steps.pass_time(collection.LEASE_S + 1)
    assert steps.collect() == 1
    assert (fresh(ended).state, fresh(ended).log_lines, len(artifacts(ended))) == ("succeeded", 2, 1)


def test_what_was_shown_live_is_not_shown_twice(job: Job, steps: Steps, provider: FakeProvider) -> None:
    steps.hand_off()
    provider.output = b"hello\nwor"
    provider.becomes(RemoteState.RUNNING, started_at=datetime.now(UTC))
    steps.track()
    staging.pull_log(Attempt.objects.select_related("job").get(job=job), provider)
    provider.output = b"hello\nworld\nlast"
    provider.becomes(RemoteState.SUCCEEDED, ended_at=datetime.now(UTC), exit_code=0)
    steps.track()
    steps.collect()
    assert [line.text for line in logs.tail(fresh(job))] == ["hello", "world", "last"]


def test_a_provider_out_of_reach_is_asked_again_and_given_up_openly(
    ended: Job, steps: Steps, provider: FakeProvider
) -> None:
    provider.down = Unavailable("connection refused")
    for _ in range(3):
        assert steps.collect() == 0
        steps.pass_time(120)
    assert fresh(ended).state == "finishing"
    assert JobEvent.objects.filter(job=ended, reason="results_late").count() == 1
    Attempt.objects.update(
        ended_at=datetime.now(UTC) - timedelta(hours=7), started_at=datetime.now(UTC) - timedelta(hours=8)
    )
    steps.pass_time(120)
    assert steps.collect() == 1
    assert (fresh(ended).state, JobEvent.objects.filter(job=ended, reason="results_lost").count()) == ("succeeded", 1)


def test_an_archive_that_is_none_is_given_up_after_five_tries(
    ended: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "fetch_artifacts", lambda job: iter([b"<html>no</html>"]))
    for _ in range(5):
        steps.collect()
        steps.pass_time(130)
    assert (fresh(ended).state, JobEvent.objects.filter(job=ended, reason="results_lost").count()) == ("succeeded", 1)


def test_what_came_before_the_damage_is_kept(ended: Job, steps: Steps, provider: FakeProvider, monkeypatch) -> None:
    whole = packed({"first.txt": b"1", "second.bin": random.Random(5).randbytes(3 * storage.MIB)})
    monkeypatch.setattr(provider, "fetch_artifacts", lambda job: iter([whole[: len(whole) // 2]]))
    for _ in range(5):
        steps.collect()
        steps.pass_time(130)
    done = fresh(ended)
    assert (done.state, storage.read(done.log_key)) == ("succeeded", b"hello\nworld\n")
    assert artifacts(done) == [("first.txt", 1, sha256(b"1").hexdigest())]
    assert told(done, "results_lost", "results_damaged") == [("results_lost", {})]
    there = sorted(stay.name for stay in residency.report(done.code) if stay.left_at is None)
    assert (there, storage.size_of(file_key(done, "second.bin"))) == (["first.txt", "log"], None)


def test_hostile_archives_leave_only_plain_files(ended: Job, steps: Steps, provider: FakeProvider, monkeypatch) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ["../../etc/passwd", "/etc/shadow", "a/../b", "ok/日本語 <b>.txt", "bad\nname", "./same", "same"]:
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            link = tarfile.TarInfo(f"link{kind!r}")
            link.type, link.linkname = kind, "/etc/passwd"
            archive.addfile(link)
    monkeypatch.setattr(provider, "fetch_artifacts", lambda job: iter([buffer.getvalue()]))
    steps.collect()
    one = sha256(b"x").hexdigest()
    assert artifacts(ended) == [("ok/日本語 <b>.txt", 1, one), ("same", 1, one)]
    assert JobEvent.objects.filter(job=ended, reason="results_skipped").count() == 1


def test_too_many_files_are_cut_openly(ended: Job, steps: Steps, provider: FakeProvider, monkeypatch) -> None:
    monkeypatch.setattr(staging, "FILES_MAX", 2)
    provider.files = {f"{n}.txt": b"x" for n in range(4)}
    steps.collect()
    assert [path for path, _, _ in artifacts(ended)] == ["0.txt", "1.txt"]
    assert JobEvent.objects.filter(job=ended, reason="results_cut").count() == 1


def test_the_secrets_of_a_job_that_was_never_sent_are_deleted_too(
    job: Job, steps: Steps, provider: FakeProvider
) -> None:
    from portal.providers.errors import Rejected

    provider.before = [Rejected("no")]
    steps.hand_off()
    assert storage.size_of(staging.manifest_key(attempt_of(job))) is not None
    assert steps.collect() == 1
    assert storage.size_of(staging.manifest_key(attempt_of(job))) is None
    assert (fresh(job).state, attempt_of(job).collected_at is None) == ("failed", False)


@pytest.mark.django_db(transaction=True)
def test_the_lease_is_renewed_while_results_are_fetched(
    ended: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "RENEW_S", 0.05)
    monkeypatch.setattr(provider, "fetch_artifacts", lambda job: time.sleep(0.5))
    attempt = collection.take_ended(steps.account_id)
    assert attempt is not None
    taken_until = attempt_of(ended).lease_until
    assert collection.collect(attempt) is not None
    renewed_until = attempt_of(ended).lease_until
    assert taken_until is not None and renewed_until is not None and renewed_until > taken_until
    assert collection.take_ended(steps.account_id) is None
    assert [t for t in threading.enumerate() if t.name == "collect-lease"] == []


def test_the_login_that_went_with_a_job_is_deleted_at_its_end(ended: Job, steps: Steps, provider: FakeProvider) -> None:
    JobEvent.objects.create(job=ended, kind="handoff", reason="with_login", by="portal:handoff")
    steps.collect()
    assert (provider.forgotten, fresh(ended).state) == (["r1"], "succeeded")


def test_a_job_without_a_login_has_none_to_delete(ended: Job, steps: Steps, provider: FakeProvider) -> None:
    steps.collect()
    assert (provider.forgotten, "forget login" in provider.calls) == ([], False)


def test_a_login_that_cannot_be_deleted_keeps_no_results_waiting(
    ended: Job, steps: Steps, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(remote_id: str) -> None:
        raise Unavailable("busy")

    JobEvent.objects.create(job=ended, kind="handoff", reason="with_login", by="portal:handoff")
    monkeypatch.setattr(provider, "forget_login", refuse)
    steps.collect()
    assert (fresh(ended).state, len(artifacts(ended))) == ("succeeded", 1)
