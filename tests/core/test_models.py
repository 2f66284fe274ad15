import pytest
from django.db import transaction

from portal.audit.models import AuditEvent
from portal.audit.recording import record
from portal.core.models import AppendOnlyError


def test_a_row_is_stored_once_and_neither_changed_nor_removed(db: None) -> None:
    with transaction.atomic():
        record("job.moved", "job:J-1", actor="user:1", chain="o-1")
    row = AuditEvent.objects.get()
    row.actor = "user:9"
    for act in (
        row.save,
        row.delete,
        AuditEvent.objects.all().delete,
        lambda: AuditEvent.objects.update(actor="user:9"),
    ):
        with pytest.raises(AppendOnlyError, match="AuditEvent"):
            act()
    assert AuditEvent.objects.get().actor == "user:1"
