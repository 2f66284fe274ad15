from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from portal.accounts.emails import send_invitation, send_ownership
from portal.accounts.models import Invitation, Organization, User
from tests.factories import UserFactory


@pytest.fixture
def invitation(organization: Organization, manager: User) -> Invitation:
    return Invitation.objects.create(
        organization=organization,
        email="new@example.jp",
        role="member",
        token_digest="x",
        invited_by=manager,
        expires_at=timezone.now() + timedelta(days=7),
    )


@pytest.mark.parametrize(
    ("reader", "inviter", "japanese"),
    [(None, "ja", True), (None, "en", False), ("en", "ja", False), ("ja", "en", True)],
)
def test_an_invitation_is_in_the_readers_language_else_in_the_inviters(
    invitation: Invitation, reader: str | None, inviter: str, japanese: bool
) -> None:
    invitation.invited_by.language = inviter
    if reader:
        UserFactory(email="new@example.jp", language=reader)
    assert send_invitation(invitation, "canary-token") is True
    sent = mail.outbox[0]
    assert (sent.to, "招待" in sent.subject) == (["new@example.jp"], japanese)
    assert "http://localhost:8000/invitations/canary-token/" in sent.body


def test_a_name_with_line_breaks_cannot_add_headers(invitation: Invitation) -> None:
    invitation.organization.name = "Mirai\nBcc: all@example.jp"
    send_invitation(invitation, "token")
    assert "\n" not in mail.outbox[0].subject
    assert mail.outbox[0].recipients() == ["new@example.jp"]


def test_the_new_owner_is_told_where_and_by_whom(organization: Organization, owner: User, member: User) -> None:
    member.language = "en"
    assert send_ownership(organization, to=member, by=owner) is True
    sent = mail.outbox[0]
    assert (sent.to, organization.name in sent.body, str(owner) in sent.body) == ([member.email], True, True)
    assert "http://localhost:8000/organization/" in sent.body


def test_a_mail_server_that_is_away_is_an_answer_and_no_error(invitation: Invitation, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    assert send_invitation(invitation, "token") is False
