"""Mails of this app, in the reader's language, sent after the transaction: a missing mail server undoes no act."""

from __future__ import annotations

from smtplib import SMTPException
from typing import Any

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation

from portal.accounts.models import Invitation, Organization, User

log = structlog.get_logger(__name__)


def send_invitation(invitation: Invitation, token: str) -> bool:
    """False when the mail server did not take it: it can be sent again. Language: the reader's, else the inviter's."""
    known = User.objects.filter(email=invitation.email).first()
    url = settings.PORTAL_URL + reverse("accounts:invitation", args=[token])
    return send(
        "accounts/email/invitation",
        to=invitation.email,
        language=(known or invitation.invited_by).language,
        context={"invitation": invitation, "url": url},
    )


def send_ownership(organization: Organization, *, to: User, by: User) -> bool:
    return send(
        "accounts/email/ownership",
        to=to.email,
        language=to.language,
        context={"organization": organization, "by": by, "url": settings.PORTAL_URL + reverse("accounts:organization")},
    )


def send(template: str, *, to: str, language: str, context: dict[str, Any]) -> bool:
    """One mail by the templates `<template>.subject.txt` and `.txt`. False when the mail server did not take it."""
    with translation.override(language):
        subject = " ".join(render_to_string(f"{template}.subject.txt", context).split())
        text = render_to_string(f"{template}.txt", context)
    try:
        send_mail(subject, text, None, [to])
    except (SMTPException, OSError):
        log.exception("mail_not_sent", template=template)
        return False
    return True
