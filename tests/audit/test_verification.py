from django.db import connection, transaction

from portal.audit.models import AuditEvent
from portal.audit.recording import digest_of, record
from portal.audit.verification import broken_links


def test_broken_links_names_a_changed_row_and_its_successor_stays_linked(db: None) -> None:
    with transaction.atomic():
        for number in range(3):
            record("job.moved", f"job:J-{number}", actor="user:1", chain="o-1")
        with connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE audit_auditevent DISABLE TRIGGER USER"
            )  # as somebody with the owner's role could
            cursor.execute("UPDATE audit_auditevent SET actor = 'user:9' WHERE chain = 'o-1' AND sequence = 2")
    assert broken_links("o-1") == [2]


def _three_links() -> None:
    for number in range(3):
        record("job.moved", f"job:J-{number}", actor="user:1", chain="o-1", detail={"name": "学習", "n": number})


def _as_somebody_with_the_owners_role(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")
        cursor.execute(statement)


def test_a_whole_chain_has_no_broken_links_and_an_empty_one_neither(db: None) -> None:
    with transaction.atomic():
        _three_links()
    assert (broken_links("o-1"), broken_links("o-2")) == ([], [])


def test_a_removed_link_shows_at_the_one_after_it(db: None) -> None:
    with transaction.atomic():
        _three_links()
        _as_somebody_with_the_owners_role("DELETE FROM audit_auditevent WHERE chain = 'o-1' AND sequence = 2")
    assert broken_links("o-1") == [3]


def test_a_changed_detail_with_a_new_digest_breaks_the_link_after_it(db: None) -> None:
    with transaction.atomic():
        _three_links()
        first = AuditEvent.objects.get(chain="o-1", sequence=1)
        first.detail = {"name": "another"}
        _as_somebody_with_the_owners_role(
            'UPDATE audit_auditevent SET detail = \'{"name": "another"}\','
            f" digest = '{digest_of(first)}' WHERE chain = 'o-1' AND sequence = 1"
        )
    assert broken_links("o-1") == [2]
