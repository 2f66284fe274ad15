"""One artifact of a job, looked at; and artifacts kept as files of a dataset."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_safe

from portal.accounts.access import require
from portal.accounts.roles import Permission
from portal.core.limits import limited
from portal.datasets import uploading
from portal.datasets.models import Dataset
from portal.datasets.names import file_path_from
from portal.datasets.views.previewing import Looked, around_frame, content_of, in_frame
from portal.jobs.forms import KeepForm
from portal.jobs.models import Artifact, Job
from portal.jobs.views.finding import find_job, record_download, user_of

LISTED = 1000
DATASETS_LISTED = 200


@login_required
@require_safe
@around_frame
def preview(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    job = find_job(request, code)
    artifact = get_object_or_404(job.artifacts, pk=pk)
    return render(request, "jobs/artifact.html", {"job": job, "artifact": artifact})


@login_required
@require_safe
@limited("download")
@in_frame
def content(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    job = find_job(request, code)
    artifact = get_object_or_404(job.artifacts, pk=pk)
    looked = Looked(artifact.path, artifact.storage_key, artifact.size_bytes)
    return content_of(
        request, looked, note=lambda: record_download(request, "artifact.previewed", job, path=artifact.path)
    )


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def keep(request: HttpRequest, code: str) -> HttpResponse:
    """`?file=` begins with that one ticked, else with all."""
    job = find_job(request, code)
    require(request.user, Permission.UPLOAD, job.project)
    count = job.artifacts.count()
    if not count:
        return redirect("jobs:artifacts", job.code)
    listed = list(job.artifacts.order_by("path")[:LISTED])
    one = request.GET.get("file", "")
    form = KeepForm(
        request.POST if request.method == "POST" else None,
        listed=listed,
        count=count,
        initial={"everything": not one, "artifacts": [one] if one else [], "dataset_name": job.name},
    )
    if form.is_bound and form.is_valid() and (dataset := _keep(request, job, form)):
        return redirect("datasets:detail", dataset.code)
    context = {
        "job": job,
        "form": form,
        "listed": listed,
        "chosen": set(form["artifacts"].value() or ()),
        "datasets": Dataset.objects.filter(project=job.project).order_by("-pk")[:DATASETS_LISTED],
    }
    return render(request, "jobs/keep.html", context, status=422 if form.errors else 200)


def _keep(request: HttpRequest, job: Job, form: KeepForm) -> Dataset | None:
    """None: the form says why not."""
    said = form.cleaned_data
    wanted = job.artifacts.order_by("path")
    if not said["everything"]:
        wanted = wanted.filter(pk__in=said["artifacts"])
    artifacts = list(wanted)
    try:
        dataset = uploading.keep(
            job.project,
            objects=[_object(artifact) for artifact in artifacts],
            origin=f"job:{job.code}",
            by=user_of(request),
            dataset_name=said["dataset_name"],
        )
    except ValidationError as why:
        form.add_error(None, why)
        return None
    messages.success(
        request,
        ngettext(
            "%(n)s file is kept here. It is copied and verified now, which takes a moment.",
            "%(n)s files are kept here. They are copied and verified now, which takes a moment.",
            len(artifacts),
        )
        % {"n": len(artifacts)},
    )
    return dataset


def _object(artifact: Artifact) -> uploading.StoredObject:
    """Raises ValidationError with the path and a sentence when a dataset cannot hold such a name."""
    try:
        name = file_path_from(artifact.path)
    except ValidationError as why:
        raise ValidationError(_("%(path)s: %(why)s") % {"path": artifact.path, "why": " ".join(why.messages)}) from None
    return uploading.StoredObject(name, artifact.size_bytes, artifact.sha256, artifact.storage_key)
