"""The work on copies of one site: make them, read them back, read them again each month, remove them.

Workers take what is due under a lease, call the stores with no transaction open, and settle what is still theirs.
Each may be killed anywhere: whoever comes after the lease asks the target what it holds (its list of parts, or the
object itself) and sends what is missing. A copy is verified only by bytes that were read back from its own site.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import partial

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from portal.core.failpoints import failpoint
from portal.datasets import residency, sites, storage
from portal.datasets.copies import VERIFY_EVERY
from portal.datasets.models import Copy, CopyState, FileState, StorageSite
from portal.datasets.models import PlaceAct as Act
from portal.datasets.storage import MIB, NotInStorage, Store, StoredPart

LEASE = timedelta(seconds=90)  # a call to a store is over after 45 s at most
RENEW_S = 20.0
SMALL_BYTES = 16 * MIB  # sent by one PUT
BATCH, BATCH_BYTES = 48, 96 * MIB
PARALLEL = 4
PART_BYTES = 16 * MIB
PARTS_WANTED = 2_000
TO_DO = (CopyState.WANTED, CopyState.COPYING, CopyState.BROKEN, CopyState.REMOVING)
RETRY = timedelta(seconds=30)
NO_SOURCE_RETRY = timedelta(minutes=10)


class LeaseLost(Exception):
    """Somebody else has these copies now: nothing more is done, and nothing settled."""


class SourceGone(Exception):
    """The source has not got the bytes, or not all of them."""


class End(Enum):
    """How the work on one copy ended."""

    ARRIVED = "arrived"  # sent, or found there, read back and equal
    VERIFIED = "verified"  # read again and equal
    DAMAGED = "damaged"  # read again and not equal
    MISSING = "missing"  # to be read again, and not there
    BAD_SOURCE = "bad source"  # the source's bytes are not the file's
    GARBLED = "garbled"  # equal at the source, not equal at the target
    GONE = "gone"  # removed, and the site confirmed it
    STRAY_GONE = "stray gone"  # the same, of bytes whose arrival nobody lived to write down
    STOPPED = "stopped"  # it is not finished, and nothing is wrong


@dataclass(frozen=True)
class Task:
    """One copy to be made: what the threads that send need to know of it; none of them asks the database."""

    copy: Copy
    target: Store
    source: Store
    look_first: bool  # it may be there already


def due(site: StorageSite) -> QuerySet[Copy]:
    """What is to be done at this site now and nobody is doing."""
    free = Q(lease_until=None) | Q(lease_until__lt=Now())
    ripe = Q(not_before=None) | Q(not_before__lte=Now())
    return Copy.objects.filter(free & ripe, site=site, state__in=TO_DO)


def due_again(site: StorageSite) -> QuerySet[Copy]:
    """Verified a month ago."""
    free = Q(lease_until=None) | Q(lease_until__lt=Now())
    return Copy.objects.filter(free, site=site, state=CopyState.VERIFIED, verify_after__lte=Now())


def work(site: StorageSite, *, for_s: float, stopping: Callable[[], bool] = lambda: False) -> bool:
    """Do what is due for about so long. True: there may be more. Raises StorageUnavailable: ask again later.

    A large file is left in the middle when the time is over; what it lacks is sent next time.
    """
    until = time.monotonic() + for_s

    def is_over() -> bool:
        return stopping() or time.monotonic() >= until

    while not is_over():
        lease = _take(site)
        if lease is None:
            return False
        try:
            _do(lease, is_over)
        except LeaseLost:
            continue
        except storage.StorageUnavailable:
            lease.give_back()
            raise
        except storage.StorageError:
            lease.give_back(after=RETRY)
    return True


# --- taking ----------------------------------------------------------------------------------------------------------


class _Lease:
    """These copies are ours until the lease ends, by the database's clock. Large ones come alone."""

    def __init__(self, site: StorageSite, copies: Sequence[Copy]) -> None:
        self.site = site
        self.store = sites.store_of(site)
        self.sources: dict[int, Copy] = {}  # by the copy that is made from it
        self._renewed = time.monotonic()
        self.hold_only(copies)

    def hold_only(self, copies: Sequence[Copy]) -> None:
        self.copies = copies
        self._turns = Q(pk=None)
        for copy in copies:
            self._turns |= Q(pk=copy.pk, turn=copy.turn)

    def ours(self) -> QuerySet[Copy]:
        return Copy.objects.filter(self._turns)

    def keep(self) -> None:
        """Called between pieces and calls. Raises LeaseLost."""
        if time.monotonic() - self._renewed < RENEW_S:
            return
        if time.monotonic() - self._renewed > LEASE.total_seconds():
            raise LeaseLost  # this process slept: somebody may have begun
        if self.ours().update(lease_until=Now() + LEASE) != len(self.copies):
            raise LeaseLost
        self._renewed = time.monotonic()

    def give_back(self, *, after: timedelta | None = None) -> None:
        self.ours().update(lease_until=None, **({"not_before": Now() + after} if after else {}))


@transaction.atomic
def _take(site: StorageSite) -> _Lease | None:
    """Some small copies, or a single large one; those to be removed by themselves, and those to be read again last."""
    found = list(_locked(due(site).order_by("pk")))
    if not found:
        found = list(_locked(due_again(site).order_by("verify_after")))
    if not found:
        return None
    first, taken, size = found[0], list[Copy](), 0
    for copy in found:
        alike = _kind(copy) == _kind(first) and copy.size_bytes <= SMALL_BYTES >= first.size_bytes
        if copy is first or (alike and size + copy.size_bytes <= BATCH_BYTES):
            taken.append(copy)
            size += copy.size_bytes
    for copy in taken:
        copy.turn += 1
        copy.state = CopyState.COPYING if copy.state == CopyState.WANTED else copy.state
        copy.lease_until = None
    Copy.objects.bulk_update(taken, ["turn", "state"])
    Copy.objects.filter(pk__in=[copy.pk for copy in taken]).update(lease_until=Now() + LEASE)
    return _Lease(site, taken)


def _locked(copies: QuerySet[Copy]) -> QuerySet[Copy]:
    return copies.select_for_update(skip_locked=True, of=("self",)).select_related("file__dataset__organization")[
        :BATCH
    ]


def _kind(copy: Copy) -> str:
    if copy.state == CopyState.REMOVING:
        return "remove"
    return "verify" if copy.state == CopyState.VERIFIED else "make"


# --- doing -----------------------------------------------------------------------------------------------------------


def _do(lease: _Lease, is_over: Callable[[], bool]) -> None:
    kind = _kind(lease.copies[0])
    if kind == "remove":
        _settle(lease, _in_parallel(lease, [(copy, partial(_remove, copy, lease.store)) for copy in lease.copies]))
    elif kind == "verify":
        _settle(lease, _in_parallel(lease, [(copy, partial(_verify, copy, lease.store)) for copy in lease.copies]))
    else:
        tasks = _tasks(lease)
        if tasks and tasks[0].copy.size_bytes > SMALL_BYTES:
            _settle(lease, [(tasks[0].copy, _send_large(tasks[0], lease, is_over))])
        else:
            _settle(lease, _in_parallel(lease, [(task.copy, partial(_send_small, task)) for task in tasks]))


def _tasks(lease: _Lease) -> list[Task]:
    """Those whose file is still wanted and has a good copy elsewhere; the others wait, or are given up."""
    wanted = [copy for copy in lease.copies if copy.file is not None and copy.file.state == FileState.READY]
    unwanted = [copy.pk for copy in lease.copies if copy not in wanted]
    good = Copy.objects.filter(file__in=[copy.file_id for copy in wanted], state=CopyState.VERIFIED)
    sources: dict[int | None, Copy] = {}
    for source in sorted(
        good.exclude(site=lease.site).filter(site__enabled=True).select_related("site"),
        key=lambda source: (source.site.failing_since is not None, not source.site.is_primary),
    ):
        sources.setdefault(source.file_id, source)
    without = [copy.pk for copy in wanted if copy.file_id not in sources]
    lease.ours().filter(pk__in=unwanted).update(state=CopyState.REMOVING, lease_until=None)
    lease.ours().filter(pk__in=without).update(not_before=Now() + NO_SOURCE_RETRY, lease_until=None)
    lease.hold_only([copy for copy in wanted if copy.file_id in sources])
    lease.sources = {copy.pk: sources[copy.file_id] for copy in lease.copies}
    stores = {source.site: sites.store_of(source.site) for source in lease.sources.values()}
    return [
        Task(
            copy, lease.store, stores[lease.sources[copy.pk].site], look_first=copy.turn > 1 or copy.arrival is not None
        )
        for copy in lease.copies
    ]


def _in_parallel(lease: _Lease, calls: Sequence[tuple[Copy, Callable[[], End]]]) -> list[tuple[Copy, End]]:
    """A few at once, while the lease is kept. When a store is away, what was finished until then is settled all the
    same, and the error raised."""
    ends: list[tuple[Copy, End]] = []
    problem: BaseException | None = None
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="copies") as pool:
        futures: dict[Future[End], Copy] = {pool.submit(call): copy for copy, call in calls}
        waiting = set(futures)
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=RENEW_S / 2, return_when=FIRST_COMPLETED)
                lease.keep()
                for future in done:
                    try:
                        ends.append((futures[future], future.result()))
                    except storage.StorageError as error:
                        problem = error
                        pool.shutdown(wait=False, cancel_futures=True)
                        waiting = {other for other in waiting if not other.cancelled()}
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    if problem is not None:
        _settle(lease, ends)
        raise problem
    return ends


def _send_small(task: Task) -> End:
    copy = task.copy
    if task.look_first and _is_there(copy, task.target):
        return End.ARRIVED
    try:
        data = storage.read(copy.storage_key, at=task.source)
    except NotInStorage:
        return End.BAD_SOURCE
    if hashlib.sha256(data).hexdigest() != copy.sha256:
        return End.BAD_SOURCE
    storage.put_bytes(copy.storage_key, data, at=task.target)
    failpoint("copies.after_put")
    back = storage.read(copy.storage_key, at=task.target)
    return End.ARRIVED if hashlib.sha256(back).hexdigest() == copy.sha256 else End.GARBLED


def _is_there(copy: Copy, store: Store, lease: _Lease | None = None) -> bool:
    if storage.size_of(copy.storage_key, at=store) != copy.size_bytes:
        return False
    return _sha256_at(copy, store, lease) == copy.sha256


def _send_large(task: Task, lease: _Lease, is_over: Callable[[], bool]) -> End:
    """By parts; the target's list of them says which are missing."""
    copy = task.copy
    try:
        held = _held(task, lease)
        if held is not None:
            _send_parts(task, lease, held, is_over)
            if len(held) < part_count(copy):
                return End.STOPPED
            failpoint("copies.before_complete")
            parts = [held[number] for number in sorted(held)]
            storage.complete_upload(copy.storage_key, copy.upload_id, parts, at=task.target)
            failpoint("copies.after_complete")
        if _sha256_at(copy, task.target, lease) == copy.sha256:
            return End.ARRIVED
    except SourceGone:
        return End.BAD_SOURCE
    except (NotInStorage, storage.StorageRefused):  # the target's upload is gone, or not what was sent
        _begin_anew(task, lease)
        return End.GARBLED
    _begin_anew(task, lease)
    return End.GARBLED if _is_there(copy, task.source, lease) else End.BAD_SOURCE


def _held(task: Task, lease: _Lease) -> dict[int, StoredPart] | None:
    """The parts at the target, of the right size. None: the object is whole already, and only to be read back."""
    copy = task.copy
    if copy.upload_id:
        try:
            found = storage.parts_of(copy.storage_key, copy.upload_id, at=task.target)
            return {part.number: part for part in found if part.size_bytes == size_of_part(copy, part.number)}
        except NotInStorage:  # completed before, or gone
            _begin_anew(task, lease)
    if task.look_first and _is_there(copy, task.target, lease):
        return None
    upload_id = storage.create_upload(copy.storage_key, at=task.target)
    if not lease.ours().filter(state__in=[CopyState.COPYING, CopyState.BROKEN]).update(upload_id=upload_id):
        storage.abort_upload(copy.storage_key, upload_id, quietly=True, at=task.target)
        raise LeaseLost
    copy.upload_id = upload_id
    failpoint("copies.after_create")
    return {}


def _begin_anew(task: Task, lease: _Lease) -> None:
    lease.ours().update(upload_id="", sent_bytes=0)
    task.copy.upload_id = ""


def _send_parts(task: Task, lease: _Lease, held: dict[int, StoredPart], is_over: Callable[[], bool]) -> None:
    """Those that are not held yet, until the time is over. What was sent is added to `held`.

    Raises SourceGone, StorageError.
    """
    copy, halt = task.copy, threading.Event()
    missing = iter([number for number in range(1, part_count(copy) + 1) if number not in held])

    def send(number: int) -> StoredPart | None:
        if halt.is_set():
            return None
        start, length = (number - 1) * part_size(copy), size_of_part(copy, number)
        try:
            part = storage.read(copy.storage_key, start=start, length=length, at=task.source)
        except NotInStorage:
            raise SourceGone from None
        if len(part) != length:
            raise SourceGone
        sent = storage.send_part(copy.storage_key, copy.upload_id, number, part, at=task.target)
        failpoint("copies.after_part")
        return sent

    with ThreadPoolExecutor(PARALLEL - 1, thread_name_prefix="parts") as pool:
        try:
            under_way = {pool.submit(send, number) for number in _some(missing, PARALLEL)}
            while under_way:
                done, under_way = wait(under_way, timeout=RENEW_S / 2, return_when=FIRST_COMPLETED)
                for future in done:
                    if part := future.result():
                        held[part.number] = part
                lease.keep()
                if done:
                    lease.ours().update(sent_bytes=sum(part.size_bytes for part in held.values()))
                if not is_over():
                    under_way |= {pool.submit(send, number) for number in _some(missing, len(done))}
        finally:
            halt.set()


def _some(numbers: Iterator[int], count: int) -> list[int]:
    return [number for _turn, number in zip(range(count), numbers, strict=False)]


def part_size(copy: Copy) -> int:
    """The same at each try: 16 MiB, growing so that 2,000 parts do."""
    return max(PART_BYTES, -(-copy.size_bytes // (PARTS_WANTED * MIB)) * MIB)


def part_count(copy: Copy) -> int:
    return -(-copy.size_bytes // part_size(copy))


def size_of_part(copy: Copy, number: int) -> int:
    return min(part_size(copy), copy.size_bytes - (number - 1) * part_size(copy))


def _verify(copy: Copy, store: Store) -> End:
    try:
        return End.VERIFIED if _sha256_at(copy, store) == copy.sha256 else End.DAMAGED
    except NotInStorage:
        return End.MISSING


def _remove(copy: Copy, store: Store) -> End:
    """Whatever is there of it. Raises StorageUnavailable while it is still there."""
    if copy.upload_id:
        storage.abort_upload(copy.storage_key, copy.upload_id, at=store)
    stray = copy.arrival is None and storage.size_of(copy.storage_key, at=store) is not None
    storage.delete(copy.storage_key, at=store)
    if storage.size_of(copy.storage_key, at=store) is not None:
        raise storage.StorageUnavailable("the object is still there after it was deleted")
    return End.STRAY_GONE if stray else End.GONE


def _sha256_at(copy: Copy, store: Store, lease: _Lease | None = None) -> str:
    whole = hashlib.sha256()
    for piece in storage.pieces(copy.storage_key, at=store):
        whole.update(piece)
        if lease:
            lease.keep()
    return whole.hexdigest()


# --- settling --------------------------------------------------------------------------------------------------------


def _settle(lease: _Lease, ends: Sequence[tuple[Copy, End]]) -> None:
    """One transaction for all that is still ours: states and place log together. The rest is given back."""
    failpoint("copies.before_settle")
    with transaction.atomic():
        rows = {row.pk: row for row in lease.ours().select_for_update(of=("self",)).select_related("site")}
        now = timezone.now()
        by_end: dict[End, list[tuple[Copy, Copy]]] = {}
        for taken, end in ends:
            if taken.pk in rows:
                by_end.setdefault(end, []).append((taken, rows[taken.pk]))
        for end, ended in by_end.items():
            _tell(lease, end, ended, now)
            for _taken, row in ended:
                _change(row, end, now)
        Copy.objects.bulk_update(
            rows.values(),
            ["state", "upload_id", "sent_bytes", "arrival", "verified_at", "verify_after", "broken_at", "not_before"],
        )
        lease.give_back()


def _tell(lease: _Lease, end: End, ended: Sequence[tuple[Copy, Copy]], now: datetime) -> None:
    """The place log. `ended`: each copy as it was taken, with its file, and its row as it is now."""
    rows = [(row, now) for _taken, row in ended]
    if end == End.ARRIVED:
        files = [taken.file for taken, _row in ended if taken.file is not None]
        events = residency.arrived([(file, lease.site, lease.store, now) for file in files])
        for (_taken, row), event in zip(ended, events, strict=True):
            row.arrival = event.pk
        residency.note(Act.VERIFIED, rows)
    elif end == End.VERIFIED:
        residency.note(Act.VERIFIED, rows)
    elif end == End.DAMAGED:
        residency.note(Act.DAMAGED, rows)
    elif end in (End.MISSING, End.GONE):
        residency.note(Act.LEFT, rows)
    elif end == End.STRAY_GONE:
        for row, _at in rows:
            residency.note_stray(row, lease.store, at=now)
    elif end == End.BAD_SOURCE:
        _blame([lease.sources[row.pk] for row, _at in rows], now)


def _change(row: Copy, end: End, now: datetime) -> None:
    """What is being removed stays so, whatever was found meanwhile; what was asked for again stays asked for."""
    given_up = row.state == CopyState.REMOVING
    if end in (End.ARRIVED, End.VERIFIED):
        row.verified_at, row.verify_after, row.not_before = now, now + VERIFY_EVERY, None
        row.upload_id, row.sent_bytes = "", 0
        row.state = row.state if given_up else CopyState.VERIFIED
    elif end in (End.DAMAGED, End.MISSING):
        row.arrival = row.arrival if end == End.DAMAGED else None
        row.broken_at = now
        row.state = row.state if given_up else CopyState.BROKEN
    elif end in (End.GONE, End.STRAY_GONE):
        row.arrival = row.arrival if given_up else None
        row.verified_at, row.verify_after, row.broken_at = None, None, None
        row.upload_id, row.sent_bytes = "", 0
        row.state = CopyState.GONE if given_up else row.state
    elif end == End.GARBLED:
        row.not_before = now + RETRY


def _blame(sources: Sequence[Copy], now: datetime) -> None:
    """The sources' own bytes are wrong: they are made again too, where another good copy is."""
    wrong = Copy.objects.select_for_update().filter(pk__in=[source.pk for source in sources], state=CopyState.VERIFIED)
    found = list(wrong)
    residency.note(Act.DAMAGED, [(copy, now) for copy in found])
    Copy.objects.filter(pk__in=[copy.pk for copy in found]).update(state=CopyState.BROKEN, broken_at=now)
