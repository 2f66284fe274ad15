"""A job's output as lines: the newest in the database for the page, the whole in storage once the job has ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from portal.jobs.models import Attempt, Job, LogChunk

LINES_KEPT = 20_000
BYTES_KEPT = 2 * 1024 * 1024
LINE_MAX = 10_000  # letters; a longer line is shown as several
CHUNK_LINES = 500
REST_MAX = 32 * 1024
AFTER_MAX = 2000
WATCH_S = 15


@dataclass(frozen=True)
class LogLine:
    number: int  # from 1
    at: datetime  # when it reached the portal
    text: str


def tail(job: Job, lines: int = 1000) -> list[LogLine]:
    """The newest lines, oldest first."""
    return _read(job, after=max(0, job.log_lines - lines))


def tail_of(attempt: Attempt, lines: int) -> list[LogLine]:
    """The newest lines that this attempt wrote, oldest first; of those before it nothing."""
    if attempt.log_offset == 0:
        return []
    found = tail(attempt.job, lines)
    begins = max((at for at, line in enumerate(found) if line.text == _begins(attempt.number)), default=-1)
    return found[begins + 1 :]


def after(job: Job, line: int) -> list[LogLine]:
    """Lines behind that number, at most 2,000."""
    return _read(job, after=line)[:AFTER_MAX]


def watch(job: Job) -> None:
    """Somebody looks at the log now: it is fetched more often for a while."""
    cache.set(watch_key(job), 1, WATCH_S)


def watch_key(job: Job) -> str:
    return f"watch:{job.code}"


def keep(job: Job, attempt: Attempt, data: bytes, *, last: bool = False) -> None:
    """Append what the provider's log holds from `attempt.log_offset` on; whole lines only, unless this is the `last`.

    The offset moves with the lines in one transaction: the same bytes told again by a second worker are dropped.
    """
    if not data and not last:
        return
    with transaction.atomic():
        row = Attempt.objects.select_for_update().get(pk=attempt.pk)
        if row.log_offset != attempt.log_offset:
            attempt.log_offset, attempt.log_rest = row.log_offset, row.log_rest
            return
        lines, rest = _split(bytes(row.log_rest) + data, last)
        # A later attempt of the same job goes on counting where the one before ended.
        attempt.log_offset, attempt.log_rest = row.log_offset + len(data), rest
        Attempt.objects.filter(pk=attempt.pk).update(log_offset=attempt.log_offset, log_rest=rest)
        if lines:
            begins_anew = _begins(row.number) if row.log_offset == 0 else ""
            _append(job, lines, len(data), after_others=begins_anew if row.number > 1 else "")


def _begins(number: int) -> str:
    return f"──────── {number}回目の実行 / run {number} ────────"


def _split(data: bytes, last: bool) -> tuple[list[str], bytes]:
    *whole, rest = data.split(b"\n")
    if rest and (last or len(rest) > REST_MAX):
        whole.append(rest)
        rest = b""
    lines: list[str] = []
    for raw in whole:
        text = raw.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}").rstrip("\r")
        lines.extend(text[i : i + LINE_MAX] for i in range(0, max(len(text), 1), LINE_MAX))
    return lines, rest


def _append(job: Job, lines: list[str], size_bytes: int, *, after_others: str) -> None:
    """`after_others`: a line of our own between what an earlier attempt wrote and this."""
    locked = Job.objects.select_for_update().only("pk", "log_lines").get(pk=job.pk)
    if after_others and locked.log_lines:
        lines = [after_others, *lines]
    total, now = locked.log_lines + len(lines), timezone.now()
    kept = _newest(lines)
    first = total - len(kept) + 1
    LogChunk.objects.bulk_create(
        LogChunk(job=job, first_line=first + i, line_count=len(some), at=now, text="\n".join(some))
        for i, some in ((i, kept[i : i + CHUNK_LINES]) for i in range(0, len(kept), CHUNK_LINES))
    )
    _forget_old(job, total)
    Job.objects.filter(pk=job.pk).update(
        log_lines=total, log_bytes=F("log_bytes") + size_bytes, version=F("version") + 1
    )
    job.log_lines = total


def _newest(lines: list[str]) -> list[str]:
    """As many of the last lines as the database keeps anyway."""
    size = 0
    for count, line in enumerate(reversed(lines)):
        size += len(line.encode()) + 1
        if count == LINES_KEPT or size > BYTES_KEPT:
            return lines[len(lines) - max(count, 1) :]
    return lines


def _forget_old(job: Job, total: int) -> None:
    """Drop whole chunks from the beginning once the newer ones alone are as much as is kept."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM jobs_logchunk WHERE job_id = %s AND first_line < (
                SELECT max(first_line) FROM (
                    SELECT first_line, sum(octet_length(text)) OVER (ORDER BY first_line DESC) AS size_bytes
                    FROM jobs_logchunk WHERE job_id = %s
                ) AS newest
                WHERE size_bytes >= %s OR first_line <= %s
            )
            """,
            [job.pk, job.pk, BYTES_KEPT, total - LINES_KEPT + 1],
        )


def _read(job: Job, *, after: int) -> list[LogLine]:
    chunks = LogChunk.objects.filter(job=job, first_line__gt=after - CHUNK_LINES).order_by("first_line")
    found = []
    for chunk in chunks:
        for number, text in enumerate(chunk.text.split("\n"), start=chunk.first_line):
            if number > after:
                found.append(LogLine(number, chunk.at, text))
    return found
