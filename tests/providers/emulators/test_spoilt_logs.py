import time

from portal.providers.emulators.fault_kinds import LogFault
from portal.providers.emulators.spoilt_logs import SpoiltLog

LOG = b"the log's own bytes"


def told(fault: LogFault, *, size: int = 1000) -> tuple[SpoiltLog, bytes]:
    """A reading, and all that it tells from the beginning on."""
    log, data = SpoiltLog(fault, lambda offset, most: LOG[offset : offset + most]), b""
    while piece := log.read(len(data), size):
        assert len(piece) <= size
        data += piece
    return log, data


def test_without_a_fault_a_log_is_its_own_bytes() -> None:
    log, data = told(LogFault())
    assert (data, log.added_bytes, log.is_cut, log.pause_s(9)) == (LOG, 0, False, 0.0)


def test_garbled_bytes_and_a_burst_stand_before_the_log_whatever_the_pieces_are() -> None:
    line = b"x" * 63 + b"\n"
    expected = b"\xff\xfe\xc3(\n" + (line * 10)[:600] + LOG
    for size in (1, 7, 64, 1000):
        log, data = told(LogFault(log_garbled=True, log_burst_mb=0.0006), size=size)
        assert (data, log.added_bytes) == (expected, 605)


def test_a_log_that_drips_comes_a_byte_at_a_time_with_a_pause_after_each() -> None:
    log, data = told(LogFault(log_bytes_per_s=1), size=1000)
    assert (data, log.read(0, 1000), log.pause_s(1), log.pause_s(3)) == (LOG, LOG[:1], 1.0, 3.0)


def test_a_pause_ends_with_the_connection() -> None:
    log, _ = told(LogFault(log_bytes_per_s=1, log_cut_every_s=0.02))
    assert log.pause_s(1) <= 0.02
    time.sleep(0.03)
    assert (log.is_cut, log.pause_s(1)) == (True, 0.0)
