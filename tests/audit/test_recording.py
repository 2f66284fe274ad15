import threading

import pytest
from django.db import connections, transaction

from portal.audit.models import AuditEvent
from portal.audit.recording import record
from portal.audit.verification import verify


def test_record_links_each_act_to_the_one_before(db: None) -> None:
    with transaction.atomic():
        record("job.submitted", "job:J-1", actor="user:1", chain="o-1", detail={"name": "学習"})
        record("job.moved", "job:J-1", actor="portal:tracker", chain="o-1")
        record("job.submitted", "job:J-2", actor="user:2", chain="o-2")
    first, second = AuditEvent.objects.filter(chain="o-1").order_by("sequence")
    assert (first.sequence, first.previous, second.sequence, second.previous) == (1, "", 2, first.digest)
    assert list(verify()) == []


def test_record_outside_a_transaction_is_refused(transactional_db: None) -> None:
    with pytest.raises(RuntimeError):
        record("job.moved", "job:J-1", actor="user:1")


def test_acts_at_the_same_time_take_different_places(transactional_db: None) -> None:
    def act() -> None:
        try:
            with transaction.atomic():
                record("job.moved", "job:J-1", actor="user:1", chain="o-1")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=act) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert list(AuditEvent.objects.order_by("sequence").values_list("sequence", flat=True)) == list(range(1, 9))
    assert list(verify()) == []
