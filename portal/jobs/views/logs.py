"""A job's output: the newest lines in the page, older ones on demand, new ones appended, the whole as a download."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from portal.core.htmx import respond
from portal.core.limits import limited
from portal.core.templatetags.formats import clock, number
from portal.datasets import storage
from portal.jobs import logs
from portal.jobs.ansi import line_html
from portal.jobs.models import Job
from portal.jobs.views.finding import find_job, record_download
from portal.jobs.views.timeline import provider_answers
from portal.providers.registry import SENDS_RESULTS

LINES = 1000
SHOWN_MAX = 4000  # letters of one line; the download has them all
LINK_S = 60


def log_context(request: HttpRequest, job: Job) -> dict[str, Any]:
    """The last lines; with ?before=N those before line N, with ?line=N those around it."""
    before, line = _line(request.GET.get("before")), _line(request.GET.get("line"))
    if line is not None and line <= job.log_lines - LINES:
        before = line + LINES // 2
    if before is not None and 1 < before <= job.log_lines:
        lines = [found for found in logs.after(job, max(0, before - LINES - 1)) if found.number < before]
        is_end = False
    else:
        lines = logs.tail(job, LINES)
        is_end = True
    return {
        "log_html": lines_html(lines),
        "first_line": lines[0].number if lines else 0,
        "last_line": lines[-1].number if lines else 0,
        "shown": len(lines),
        "is_end": is_end,
        "log_live": is_end and not job.is_final,
        "log_via_storage": _via_storage(job),
        # Each attempt's log is whole by itself; one that never ran has none.
        "runs": list(job.attempts.exclude(log_key="").order_by("number").values_list("number", flat=True))
        if job.retries
        else [],
    }


@login_required
@require_safe
def lines(request: HttpRequest, code: str) -> HttpResponse:
    """What came after line ?after=N: 204 when nothing did and the job still runs."""
    job = find_job(request, code)
    if not job.is_final:
        logs.watch(job)
    after = _line(request.GET.get("after")) or 0
    new = logs.after(job, after) if job.log_lines > after else []
    if not new and not job.is_final:
        return HttpResponse(status=204)
    attempt = job.attempts.select_related("account").order_by("-number").first()
    context = {
        "job": job,
        "answers": provider_answers(job, attempt, now=timezone.now()),
        "log_html": lines_html(new),
        "last_line": new[-1].number if new else after,
        "log_live": not job.is_final or (bool(new) and new[-1].number < job.log_lines),
        "log_via_storage": _via_storage(job),
    }
    return respond(request, "jobs/lines.html", "jobs/_lines.html", context)


def _via_storage(job: Job) -> bool:
    """The provider shows no log of a job at work: the job itself sends it, see bootstrap.sh."""
    return job.offering.adapter in SENDS_RESULTS


@login_required
@require_safe
@limited("download")
def download(request: HttpRequest, code: str) -> HttpResponseBase:
    """The whole log: from storage once the job has ended, until then what has come so far; with ?attempt=N that of one
    of its attempts."""
    job = find_job(request, code)
    name = f"{job.code}.log"
    if number := _line(request.GET.get("attempt")):
        found = get_object_or_404(job.attempts.exclude(log_key=""), number=number)
        record_download(request, "log.downloaded", job, attempt=str(number))
        name = f"{job.code}-{number}.log"
        return redirect(storage.presigned_get(found.log_key, expires_s=LINK_S, download_name=name))
    record_download(request, "log.downloaded", job)
    if job.log_key:
        return redirect(storage.presigned_get(job.log_key, expires_s=LINK_S, download_name=name))
    response = StreamingHttpResponse(_text(job), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _text(job: Job) -> Iterator[str]:
    chunks = job.log_chunks.order_by("first_line").values_list("first_line", "text")
    for position, (first_line, text) in enumerate(chunks.iterator(chunk_size=20)):
        if position == 0 and first_line > 1:
            yield (
                _("(Lines 1 to %(last)s are in the whole log, which is here when the job has ended.)")
                % {"last": number(first_line - 1)}
                + "\n"
            )
        yield text + "\n"


def lines_html(lines: Iterable[logs.LogLine]) -> SafeString:
    """A thousand lines are too many for template tags: each is put together here, escaped."""
    return mark_safe("".join(map(_line_html, lines)))  # noqa: S308 - pieces of format_html


def _line_html(line: logs.LogLine) -> SafeString:
    text = line.text
    rest = ""
    if len(text) > SHOWN_MAX:
        rest = _(" … (%(count)s more characters in the download)") % {"count": number(len(text) - SHOWN_MAX)}
        text = text[:SHOWN_MAX]
    return format_html(
        '<li id="L{n}"><a class="ln" href="#L{n}" tabindex="-1">{n}</a><time>{at}</time>'
        '<span class="msg">{text}{rest}</span></li>\n',
        n=line.number,
        at=clock(line.at),
        text=line_html(text),
        rest=rest,
    )


def _line(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None
