"""With whom a dataset is shared: who reads it, with whom else it is shared, and the end of that."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from portal.accounts.access import require
from portal.accounts.models import Project
from portal.accounts.roles import Permission
from portal.core.limits import limited
from portal.datasets import sharing
from portal.datasets.forms import SharingForm
from portal.datasets.models import Dataset, DatasetShare
from portal.datasets.views.finding import find_dataset, user_of

ENDED_SHOWN = 20


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@limited("share", method="POST")
def page(request: HttpRequest, code: str) -> HttpResponse:
    dataset = find_dataset(request, code)
    require(request.user, Permission.UPLOAD, dataset.project)
    others = Project.objects.visible_to(user_of(request)).open().filter(organization=dataset.organization)
    form = SharingForm(
        request.POST if request.method == "POST" else None,
        dataset=dataset,
        projects=list(others.exclude(pk=dataset.project_id).select_related("organization").order_by("name", "pk")),
    )
    if form.is_bound and form.is_valid() and (made := _share(request, dataset, form)):
        messages.success(
            request, _("“%(name)s” is shared with %(receiver)s.") % {"name": dataset.name, "receiver": made.receiver}
        )
        return redirect("datasets:sharing", dataset.code)
    shares = dataset.shares.select_related("to_organization", "to_project", "created_by", "ended_by").order_by("-pk")
    live = list(shares.live())
    context = {
        "dataset": dataset,
        "form": form,
        "live": live,
        "ended": list(shares.exclude(pk__in=[share.pk for share in live])[:ENDED_SHOWN]),
    }
    return render(request, "datasets/sharing.html", context, status=422 if form.errors else 200)


@login_required
@require_POST
def end(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    dataset = find_dataset(request, code)
    require(request.user, Permission.UPLOAD, dataset.project)
    shares = DatasetShare.objects.select_related(
        "dataset__organization", "dataset__project__organization", "to_organization", "to_project"
    )
    found = get_object_or_404(shares, dataset=dataset, pk=pk)
    sharing.end(found, by=user_of(request))
    messages.success(request, _("%(receiver)s no longer sees the dataset.") % {"receiver": found.receiver})
    return redirect("datasets:sharing", dataset.code)


def _share(request: HttpRequest, dataset: Dataset, form: SharingForm) -> DatasetShare | None:
    """None: the form says why not."""
    said = form.cleaned_data
    project = form.projects.get(said["receiver"])
    if said["receiver"] == form.CODE:
        project = sharing.receiver_called(said["project_code"])
        if project is None:
            form.add_error(
                "project_code",
                _("No open project has this code. Ask a manager of the project for it and type it as it stands there."),
            )
            return None
    try:
        return sharing.share(dataset, with_project=project, until=form.until, by=user_of(request))
    except sharing.SharingRefused as why:
        form.add_error("last_day" if why.code == "last_day" else None, why)
        return None
