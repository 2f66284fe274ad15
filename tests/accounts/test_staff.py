import io

import pytest
from django.core.management import CommandError, call_command

from portal.accounts.models import User
from portal.audit.models import AuditEvent
from tests.factories import UserFactory


def test_somebody_becomes_staff_and_no_longer_is_each_told_once(db: None) -> None:
    person = UserFactory(email="saya@example.jp")
    said = io.StringIO()
    for arguments in (["Saya@example.jp"], ["saya@example.jp"], ["saya@example.jp", "--remove"]):
        call_command("staff", *arguments, stdout=said)
    assert said.getvalue().splitlines() == ["saya@example.jp is staff."] * 2 + ["saya@example.jp is no staff."]
    assert User.objects.get(pk=person.pk).is_staff is False
    events = AuditEvent.objects.order_by("sequence").values_list("act", "subject", "actor")
    assert list(events) == [(act, f"user:{person.pk}", "operator") for act in ("staff.added", "staff.removed")]


def test_a_stranger_is_named(db: None) -> None:
    with pytest.raises(CommandError, match="Nobody has signed up"):
        call_command("staff", "nobody@example.jp")
