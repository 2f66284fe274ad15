"""The demo's mailbox: what the portal sent, read from the files of EMAIL_FILE_PATH. Not there in production."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from functools import wraps
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

SHOWN = 50
# Django's file backend ends each mail of a file with this line.
_END = b"\n" + b"-" * 79 + b"\n"


@dataclass(frozen=True)
class Mail:
    name: str  # file name and number in it, as in the URL
    at: datetime | None
    to: str
    subject: str
    text: str


def not_in_production(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @wraps(view)
    def wrapped(request: HttpRequest, *args: str, **kwargs: str) -> HttpResponse:
        if settings.PRODUCTION:
            raise Http404
        return view(request, *args, **kwargs)

    return wrapped


@require_safe
@not_in_production
def mailbox(request: HttpRequest) -> HttpResponse:
    return render(request, "home/dev_mail.html", {"mails": _newest()})


@require_safe
@not_in_production
def mail(request: HttpRequest, name: str) -> HttpResponse:
    """Only what the list shows can be opened, so no name leads out of the folder."""
    shown = next((m for m in _newest() if m.name == name), None)
    if shown is None:
        raise Http404
    return render(request, "home/dev_mail_message.html", {"mail": shown})


def _newest() -> list[Mail]:
    folder = Path(getattr(settings, "EMAIL_FILE_PATH", None) or settings.PORTAL_DATA / "mail")
    try:
        files = sorted(folder.glob("*.log"), key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    except OSError:
        return []
    mails: list[Mail] = []
    for path in files[:SHOWN]:
        mails.extend(reversed(list(_read(path))))
    return mails[:SHOWN]


def _read(path: Path) -> Iterator[Mail]:
    try:
        parts = path.read_bytes().split(_END)
    except OSError:  # the folder was emptied meanwhile
        return
    for number, raw in enumerate(part for part in parts if part.strip()):
        message = BytesParser(policy=policy.default).parsebytes(raw.lstrip(b"\n"))
        body = message.get_body(preferencelist=("plain", "html"))
        yield Mail(
            name=f"{path.stem}-{number}",
            at=_instant(message["Date"]),
            to=str(message["To"] or ""),
            subject=str(message["Subject"] or ""),
            text=body.get_content() if body else "",
        )


def _instant(header: object) -> datetime | None:
    try:
        at = parsedate_to_datetime(str(header))
    except ValueError:
        return None
    # "-0000", as Django writes it, is UTC of a place unknown: Python gives it without a zone.
    return at if at.tzinfo else at.replace(tzinfo=UTC)
