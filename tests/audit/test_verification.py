from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from portal.audit.models import AuditEvent, AuditHead
from portal.audit.recording import digest_of, record
from portal.audit.verification import CHECKS, ENDS, IN_ORDER, JOINED, LINKS_AT_ONCE, UNCHANGED, Problem, verify

pytestmark = pytest.mark.django_db


def three_links(chain: str = "o-1") -> None:
    with transaction.atomic():
        for number in range(3):
            record("job.moved", f"job:J-{number}", actor="user:1", chain=chain, detail={"name": "学習", "n": number})


def as_somebody_with_the_owners_role(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")
        cursor.execute(statement)


def digest(sequence: int) -> str:
    return str(AuditEvent.objects.get(chain="o-1", sequence=sequence).digest)


def run() -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    try:
        call_command("verify_audit", stdout=out)
    except SystemExit as left:
        return int(str(left.code)), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


def test_whole_chains_have_no_problems_and_no_chain_has_none() -> None:
    assert run() == (0, {"chains": 0, "links": 0, "checks": list(CHECKS), "problems": []})
    three_links()
    three_links("")
    assert list(verify()) == []
    assert run() == (0, {"chains": 2, "links": 6, "checks": list(CHECKS), "problems": []})


def test_a_changed_row_is_named_and_its_successor_stays_linked() -> None:
    three_links()
    was = digest(2)
    as_somebody_with_the_owners_role("UPDATE audit_auditevent SET actor = 'user:9' WHERE sequence = 2")
    told = digest_of(AuditEvent.objects.get(sequence=2))
    assert list(verify()) == [Problem(UNCHANGED, "o-1", 2, told, was)]


def test_a_removed_link_shows_at_the_one_after_it() -> None:
    three_links()
    as_somebody_with_the_owners_role("DELETE FROM audit_auditevent WHERE sequence = 2")
    assert list(verify()) == [Problem(IN_ORDER, "o-1", 3, "2", "3")]


def test_a_changed_detail_with_a_new_digest_breaks_the_link_after_it() -> None:
    three_links()
    first, was = AuditEvent.objects.get(sequence=1), digest(1)
    first.detail = {"name": "another"}
    new = digest_of(first)
    as_somebody_with_the_owners_role(
        f"UPDATE audit_auditevent SET detail = '{{\"name\": \"another\"}}', digest = '{new}' WHERE sequence = 1"
    )
    assert list(verify()) == [Problem(JOINED, "o-1", 2, new, was)]


def test_links_removed_from_the_end_are_missed_by_the_head() -> None:
    three_links()
    second, third = digest(2), digest(3)
    as_somebody_with_the_owners_role("DELETE FROM audit_auditevent WHERE sequence = 3")
    assert list(verify()) == [Problem(ENDS, "o-1", 2, f"3 {third}", f"2 {second}")]
    as_somebody_with_the_owners_role("DELETE FROM audit_auditevent")
    assert list(verify()) == [Problem(ENDS, "o-1", 0, f"3 {third}", "0")]


def test_a_chain_without_a_head_and_a_link_beyond_it_are_named() -> None:
    three_links()
    third = digest(3)
    AuditHead.objects.all().delete()
    assert list(verify()) == [Problem(ENDS, "o-1", 3, "0", f"3 {third}")]


def test_the_command_names_every_broken_link_of_every_chain_and_fails() -> None:
    for chain in ("o-1", "o-2", "o-3"):
        three_links(chain)
    as_somebody_with_the_owners_role(
        "UPDATE audit_auditevent SET act = 'job.other' WHERE chain <> 'o-2' AND sequence < 3"
    )
    status, report = run()
    assert (status, report["chains"], report["links"]) == (1, 3, 9)
    places = [(problem["check"], problem["chain"], problem["sequence"]) for problem in report["problems"]]
    assert places == [(UNCHANGED, chain, sequence) for chain in ("o-1", "o-3") for sequence in (1, 2)]


def grown_to(links: int) -> None:
    head, _ = AuditHead.objects.get_or_create(chain="o-1")
    new = []
    for sequence in range(head.sequence + 1, links + 1):
        link = AuditEvent(
            chain="o-1", sequence=sequence, at=timezone.now(), actor="user:1", act="job.moved", subject="job:J-1",
            detail={"from": "submitted", "to": "queued"}, previous=head.digest,
        )  # fmt: skip
        head.digest = link.digest = digest_of(link)
        new.append(link)
    AuditEvent.objects.bulk_create(new, batch_size=1000)
    head.sequence = links
    head.save()


def peak_bytes() -> int:
    tracemalloc.start()
    try:
        assert list(verify()) == []
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_chain_takes_no_more_memory_than_a_short_one() -> None:
    grown_to(2 * LINKS_AT_ONCE)
    short = peak_bytes()
    grown_to(10 * LINKS_AT_ONCE)
    assert peak_bytes() < 1.5 * short
