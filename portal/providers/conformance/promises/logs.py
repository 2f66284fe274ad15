"""What the job writes: live and at the end."""

from __future__ import annotations

import time

from portal.providers.base import LiveLog, RemoteState
from portal.providers.conformance.bench import Bench
from portal.providers.conformance.kit import equal, hold, patient_promise, promise
from portal.providers.conformance.samples import LOG_BYTES, TEXT


@promise
def the_log_has_standard_output_and_errors(bench: Bench) -> str:
    equal(bench.sample("good").log, TEXT + b"on stderr\n", "log")
    return "both, in order"


@promise
def the_log_of_a_job_that_failed_is_whole(bench: Bench) -> str:
    equal(bench.sample("exits_3").log, b"no such model\n", "log")
    return "no such model"


@promise
def the_log_of_a_silent_job_is_empty(bench: Bench) -> str:
    equal(bench.sample("silent").log, b"", "log")
    return "0 bytes"


@promise
def a_log_of_three_megabytes_comes_whole(bench: Bench) -> str:
    log = bench.sample("long_log").log
    equal(len(log), LOG_BYTES, "bytes")
    hold(set(log) == {ord("x")}, "other bytes are among them")
    return f"{LOG_BYTES:,} bytes in one line"


@promise
def colours_markup_and_broken_utf8_stay_the_bytes_they_are(bench: Bench) -> str:
    expected = b"a\x1b[31mred\x1b[0m\r\n\xff\xfe\x00\tx <script>1</script> \xe4\xb8\x80"
    equal(bench.sample("odd_log").log, expected, "log")
    return f"{len(expected)} bytes, none changed"


@promise
def a_last_line_without_its_end_is_not_lost(bench: Bench) -> str:
    log = bench.sample("speaks_slowly").log
    equal(log, "一\n二\nend".encode(), "log")
    return "…end"


@patient_promise
def a_live_log_goes_on_where_one_stopped(bench: Bench) -> str:
    adapter = bench.ability(LiveLog)
    job = bench.submit("echo 一; sleep 8; echo 二; sleep 2")
    collected, offset, looks = b"", 0, 0
    bench.wait_until_running(job)
    while not bench.adapter.get(job.remote_id).state.is_final and looks < 600:
        piece = adapter.read_log(job, offset=offset, max_bytes=4)
        hold(len(piece.data) <= 4, f"{len(piece.data)} bytes instead of 4 at most")
        equal(piece.next_offset, offset + len(piece.data), "next offset")
        collected, offset, looks = collected + piece.data, piece.next_offset, looks + 1
        time.sleep(0.1)
    hold("一\n二\n".encode().startswith(collected), f"{collected!r}")
    hold(collected, "nothing was read while it ran")
    return f"{looks} looks of 4 bytes, {len(collected)} bytes while it ran"


@promise
def a_live_log_has_nothing_of_a_job_that_waits(bench: Bench) -> str:
    adapter = bench.ability(LiveLog)
    job = bench.submit("echo begun; sleep 5")
    piece = adapter.read_log(job, offset=0, max_bytes=100)
    if bench.adapter.get(job.remote_id).state is RemoteState.QUEUED:
        equal(piece.data, b"", "log of a waiting job")
    bench.adapter.cancel(job.remote_id)
    return f"{len(piece.data)} bytes"


@promise
def a_live_log_is_the_beginning_of_the_whole(bench: Bench) -> str:
    adapter = bench.ability(LiveLog)
    ended = bench.sample("good")
    piece = adapter.read_log(ended.job, offset=4, max_bytes=20)
    equal(piece.data, ended.log[4:24], "20 bytes from the fourth")
    return "bytes 4 to 24 are equal"


@promise
def a_live_log_has_nothing_beyond_its_end(bench: Bench) -> str:
    adapter = bench.ability(LiveLog)
    ended = bench.sample("good")
    piece = adapter.read_log(ended.job, offset=len(ended.log) + 1000, max_bytes=20)
    equal(piece.data, b"", "bytes beyond the end")
    return "nothing, and no error"
