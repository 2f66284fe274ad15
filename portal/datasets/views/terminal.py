"""The command that uploads from a terminal. Its token is shown in this one answer and stored nowhere."""

from __future__ import annotations

import shlex

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.views.decorators.http import require_POST

from portal.accounts.access import require
from portal.accounts.roles import Permission
from portal.audit.recording import record
from portal.core.htmx import respond
from portal.core.limits import limited
from portal.datasets import tokens
from portal.datasets.views.admission import session_of
from portal.datasets.views.finding import find_dataset, find_project, user_of


@login_required
@require_POST
@limited("submit")
def token(request: HttpRequest) -> HttpResponse:
    """For a dataset, or for a project's datasets."""
    user, code = user_of(request), request.POST.get("dataset", "")
    dataset = find_dataset(request, code) if code else None
    project = dataset.project if dataset else find_project(request, request.POST.get("project", ""))
    require(user, Permission.UPLOAD, project)
    session = session_of(request)
    with transaction.atomic():
        made = tokens.issue(by=user, session=session, project=project, dataset=dataset)
        record(
            "upload.token",
            f"dataset:{dataset.code}" if dataset else f"project:{project.code}",
            actor=f"user:{user.pk}",
            chain=project.organization.code,
            detail={"project": project.code},
        )
    context = {
        "dataset": dataset,
        "project": project,
        "minutes": tokens.LIFETIME_S // 60,
        "command": _command(made),
    }
    return respond(request, "datasets/terminal.html", "datasets/_terminal.html", context)


def _command(made: str) -> str:
    """One line: fetch the script, run it. The token goes by the environment, because everyone on a machine can read
    arguments."""
    script = settings.PORTAL_URL + static("portal-upload.py")
    return (
        f"curl -fsSo portal-upload.py {shlex.quote(script)} && "
        f"PORTAL_URL={shlex.quote(settings.PORTAL_URL)} PORTAL_TOKEN={shlex.quote(made)} python3 portal-upload.py FILE"
    )
