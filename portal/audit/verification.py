"""Is every chain whole, to its last link? Read only; repairs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby

from django.db import connection, transaction

from portal.audit.models import AuditEvent, AuditHead
from portal.audit.recording import digest_of

IN_ORDER = "each link stands in the place after the one before it"
JOINED = "each link names the digest of the one before it"
UNCHANGED = "each link's digest is that of what it says"
ENDS = "each chain ends where its head says"
CHECKS = (IN_ORDER, JOINED, UNCHANGED, ENDS)
LINKS_AT_ONCE = 1000


@dataclass(frozen=True)
class Problem:
    """`found` stands where `expected` should."""

    check: str
    chain: str  # an organization's code, or "" for acts outside any organization
    sequence: int
    expected: str
    found: str

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


def verify() -> Iterator[Problem]:
    """Every broken link of every chain, as they come; nothing when all are whole. All is read of one moment.

    Links are read a thousand at a time, so that a trail of years takes no more memory than one of a day (beyond one
    head for each chain). Who can change the rows can also write them and the head anew, with digests that fit: only a
    digest that is kept elsewhere would show that.
    """
    with transaction.atomic():
        if not connection.savepoint_ids:  # the outermost transaction, so nothing was read in it yet
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        heads = {head.chain: head for head in AuditHead.objects.all()}
        links = AuditEvent.objects.order_by("chain", "sequence").iterator(chunk_size=LINKS_AT_ONCE)
        for chain, its_links in groupby(links, key=lambda link: link.chain):
            yield from _broken(its_links, heads.pop(chain, AuditHead(chain=chain)))
        for head in heads.values():  # of chains without a link
            yield from _broken([], head)


def _broken(links: Iterable[AuditEvent], head: AuditHead) -> Iterator[Problem]:
    place, digest = 0, ""
    for link in links:
        if link.sequence != place + 1:
            yield Problem(IN_ORDER, link.chain, link.sequence, str(place + 1), str(link.sequence))
        elif link.previous != digest:
            yield Problem(JOINED, link.chain, link.sequence, digest, link.previous)
        if link.digest != (told := digest_of(link)):
            yield Problem(UNCHANGED, link.chain, link.sequence, told, link.digest)
        place, digest = link.sequence, link.digest
    if (place, digest) != (head.sequence, head.digest):
        yield Problem(ENDS, head.chain, place, f"{head.sequence} {head.digest}".strip(), f"{place} {digest}".strip())
