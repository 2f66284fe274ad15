"""`record` adds one link to a chain, in the transaction of the act itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from portal.audit.models import AuditEvent, AuditHead

# One trip: every act of an organization waits for the head of its chain, so it is held as shortly as can be.
_APPEND = """
WITH link AS (
    INSERT INTO audit_auditevent (chain, sequence, at, actor, act, subject, detail, previous, digest)
    SELECT %(chain)s, sequence, %(at)s, %(actor)s, %(act)s, subject, detail, previous, digest
    FROM unnest(%(sequences)s::bigint[], %(subjects)s::text[], %(details)s::jsonb[], %(previous)s::text[],
                %(digests)s::text[]) AS told (sequence, subject, detail, previous, digest)
)
UPDATE audit_audithead SET sequence = %(sequence)s, digest = %(digest)s WHERE chain = %(chain)s
"""


def record(act: str, subject: str, *, actor: str, chain: str = "", detail: Mapping[str, Any] | None = None) -> None:
    """Must run inside the transaction that does the act; the chain's head stays locked until it ends.

    `detail` is plain JSON and never holds a secret.
    """
    record_each(act, [(subject, detail or {})], actor=actor, chain=chain)


def record_each(act: str, told: Iterable[tuple[str, Mapping[str, Any]]], *, actor: str, chain: str = "") -> None:
    """The same act on many subjects, a link for each with its own detail, in one trip. Otherwise as `record`."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("audit.record runs inside the transaction of the act it tells of")
    head, now = _head(chain), timezone.now()
    last: AuditEvent | AuditHead = head
    links: list[AuditEvent] = []
    for subject, detail in told:
        event = AuditEvent(
            chain=chain,
            sequence=last.sequence + 1,
            at=now,
            actor=actor,
            act=act,
            subject=subject,
            detail=dict(detail),
            previous=last.digest,
        )
        event.digest = digest_of(event)
        links.append(event)
        last = event
    if not links:
        return
    values: dict[str, Any] = {
        "chain": chain,
        "at": now,
        "actor": actor,
        "act": act,
        "sequences": [link.sequence for link in links],
        "subjects": [link.subject for link in links],
        "details": [Jsonb(link.detail) for link in links],
        "previous": [link.previous for link in links],
        "digests": [link.digest for link in links],
        "sequence": last.sequence,
        "digest": last.digest,
    }
    with connection.cursor() as cursor:
        cursor.execute(_APPEND, values)


def _head(chain: str) -> AuditHead:
    """The end of the chain, locked. The first act of a chain makes it, whoever else does at the same moment."""
    heads = AuditHead.objects.select_for_update().filter(chain=chain)
    for head in heads:
        return head
    AuditHead.objects.bulk_create([AuditHead(chain=chain)], ignore_conflicts=True)
    return heads.get()


def digest_of(event: AuditEvent) -> str:
    """SHA-256 over the canonical JSON of everything in the row but the digest itself."""
    content = [
        event.chain,
        event.sequence,
        event.at.isoformat(),
        event.actor,
        event.act,
        event.subject,
        event.detail,
        event.previous,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
