from __future__ import annotations

import pytest

from portal.jobs import logs
from portal.jobs.models import Attempt, Job, LogChunk
from tests.factories import AttemptFactory
from tests.jobs.conftest import fresh


@pytest.fixture
def attempt(db: None) -> Attempt:
    return AttemptFactory()


def texts(job: Job, lines: int = 1000) -> list[tuple[int, str]]:
    return [(line.number, line.text) for line in logs.tail(fresh(job), lines)]


def test_lines_may_come_in_any_pieces(attempt: Attempt) -> None:
    for byte in "一行目\r\n二行目\n".encode():
        logs.keep(attempt.job, attempt, bytes([byte]))
    assert texts(attempt.job) == [(1, "一行目"), (2, "二行目")]
    assert Attempt.objects.get(pk=attempt.pk).log_offset == len("一行目\r\n二行目\n".encode())


def test_the_last_line_needs_no_newline(attempt: Attempt) -> None:
    logs.keep(attempt.job, attempt, b"one\ntwo")
    assert texts(attempt.job) == [(1, "one")]
    logs.keep(attempt.job, attempt, b"", last=True)
    logs.keep(attempt.job, attempt, b"", last=True)
    assert texts(attempt.job) == [(1, "one"), (2, "two")]


def test_the_same_bytes_from_a_second_worker_are_dropped(attempt: Attempt) -> None:
    twin = Attempt.objects.select_related("job").get(pk=attempt.pk)
    logs.keep(attempt.job, attempt, b"one\n")
    logs.keep(twin.job, twin, b"one\n")
    assert texts(attempt.job) == [(1, "one")]
    assert twin.log_offset == 4  # it goes on from there


def test_broken_bytes_and_zeros_become_replacement_characters(attempt: Attempt) -> None:
    logs.keep(attempt.job, attempt, b"a\0b\xff\x1b[31m<b>\n")
    assert texts(attempt.job) == [(1, "a�b�\x1b[31m<b>")]


def test_a_line_without_end_is_cut(attempt: Attempt) -> None:
    logs.keep(attempt.job, attempt, b"x" * 40_000)
    assert [len(text) for _, text in texts(attempt.job)] == [10_000] * 4


def test_only_the_newest_lines_stay_and_numbers_go_on(attempt: Attempt) -> None:
    for _ in range(3):
        logs.keep(attempt.job, attempt, b"line\n" * 10_000)
    job = fresh(attempt.job)
    first = LogChunk.objects.filter(job=job).order_by("first_line").first()
    assert (job.log_lines, job.log_bytes) == (30_000, 150_000)
    assert first is not None and 9_000 < first.first_line <= 10_001
    assert texts(job, 2) == [(29_999, "line"), (30_000, "line")]


def test_only_the_newest_bytes_stay(attempt: Attempt) -> None:
    for _ in range(6):
        logs.keep(attempt.job, attempt, (b"y" * 999 + b"\n") * 1000)
    kept = sum(len(chunk.text) for chunk in LogChunk.objects.filter(job=attempt.job))
    assert logs.BYTES_KEPT <= kept <= logs.BYTES_KEPT + 500_000


def test_after_gives_what_is_new(attempt: Attempt) -> None:
    logs.keep(attempt.job, attempt, b"1\n2\n3\n")
    assert [line.text for line in logs.after(fresh(attempt.job), 1)] == ["2", "3"]
    assert logs.after(fresh(attempt.job), 3) == []


def test_the_tail_of_an_attempt_has_nothing_of_those_before_it(attempt: Attempt) -> None:
    logs.keep(attempt.job, attempt, b"one\ntwo\n")
    Attempt.objects.update(state="ended")
    again = AttemptFactory(job=attempt.job, account=attempt.account, number=2)
    assert logs.tail_of(again, 10) == []  # it has written nothing
    logs.keep(again.job, again, b"three\nfour\n")
    assert [(line.number, line.text) for line in logs.tail_of(again, 10)] == [(4, "three"), (5, "four")]
    assert [line.text for line in logs.tail_of(again, 1)] == ["four"]
