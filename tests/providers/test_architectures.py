from __future__ import annotations

import pytest

from portal.providers.architectures import KnownArchitectures, architecture, refuse_others
from portal.providers.base import JobSpec
from portal.providers.errors import Rejected, Unavailable

ARM = JobSpec("k", "", "gb200", 4, 60, architecture="arm64")


def test_what_uname_says_in_the_words_of_container_images() -> None:
    assert [architecture(word) for word in ("x86_64", "aarch64", "ARM64", "riscv64")] == [
        "amd64", "arm64", "arm64", "riscv64",
    ]  # fmt: skip


def test_a_job_for_other_machines_is_refused_with_both_names() -> None:
    with pytest.raises(Rejected) as told:
        refuse_others(ARM, {"amd64"})
    assert told.value.summary == "the job is for arm64, and the machines of gb200 are amd64"


@pytest.mark.parametrize("there", [{"arm64"}, {"amd64", "arm64"}, set()], ids=["its own", "mixed", "not said"])
def test_a_job_for_machines_that_may_be_there_is_let_pass(there: set[str]) -> None:
    refuse_others(ARM, there)
    refuse_others(JobSpec("k", "", "gb200", 4, 60), there)


def test_the_machines_are_asked_for_once_in_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [1000.0], []
    monkeypatch.setattr("portal.providers.architectures.time.monotonic", lambda: now[0])
    known = KnownArchitectures(lambda: asked.append(now[0]) or {"gpu": {"amd64"}})
    said = [known.of("gpu"), known.of("gpu"), known.of("other")]
    now[0] += 601
    assert (said, known.of("gpu"), asked) == ([{"amd64"}, {"amd64"}, ()], {"amd64"}, [1000.0, 1601.0])


def test_a_provider_that_cannot_be_asked_is_asked_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [1000.0], []
    monkeypatch.setattr("portal.providers.architectures.time.monotonic", lambda: now[0])

    def ask() -> dict[str, set[str]]:
        asked.append(now[0])
        raise Unavailable("no connection")

    known = KnownArchitectures(ask)
    said = [known.of("gpu"), known.of("gpu")]
    now[0] += 61
    assert (said, known.of("gpu"), asked) == ([(), ()], (), [1000.0, 1061.0])
