"""The portal's side of an upload. upload.js and portal-upload.py get JSON, {"error": sentence} when something is wrong;
a browser without script gets pages. The bytes go from the sender to the store and never pass here."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.accounts.access import require
from portal.accounts.context import current_of
from portal.accounts.models import Project
from portal.accounts.roles import Permission
from portal.core.limits import limited, wait_for
from portal.datasets import quota, uploading
from portal.datasets.forms import BeginForm, CompleteForm, PartsForm, PlainForm
from portal.datasets.models import DataFile, Dataset, FileState
from portal.datasets.storage import StorageError
from portal.datasets.views.admission import browser_or_terminal, is_covered, scope_in
from portal.datasets.views.finding import (
    find_dataset,
    find_own_upload,
    find_project,
    projects_to_upload,
    user_of,
)

View = Callable[..., HttpResponse]
AnyForm = TypeVar("AnyForm", bound=Form)


def _answers_json(view: View) -> View:
    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except ValidationError as why:
            return _error(" ".join(why.messages), 422)
        except uploading.PartsMissing as gap:
            return JsonResponse(
                {"error": _("Some parts have not arrived. They are sent again."), "missing": gap.numbers}, status=409
            )
        except Http404:
            return _error(_("There is no such upload, dataset or project, or it is not yours."), 404)
        except PermissionDenied:
            return _error(_("You may not upload into this project. Ask a manager of the project."), 403)
        except StorageError:
            return _error(_storage_away(), 503)

    return wrapped


@browser_or_terminal
@require_POST
@_answers_json
def begin(request: HttpRequest) -> HttpResponse:
    """What the store holds of the file, and the address of its only part if it has one: a small file needs two requests
    to us. `state` is not "uploading" where this very file is in the dataset already: nothing is to be sent."""
    form = _valid(BeginForm(request.POST))
    if wait_s := wait_for(request, "presign"):
        return _too_many(wait_s)
    said = form.cleaned_data
    if said["resume"]:
        file = find_own_upload(request, said["resume"])
        require(request.user, Permission.UPLOAD, file.dataset.project)
        file = uploading.resume(file, sent=form.sent)
    else:
        project, dataset = _destination(request, form)
        file = uploading.begin(
            project, sent=form.sent, by=user_of(request), dataset=dataset, dataset_name=said["dataset_name"]
        )
    waits = file.state == FileState.UPLOADING
    held = [part.number for part in uploading.parts_held(file)] if waits else []
    only = {1: form.sent.sha256} if waits and file.part_count == 1 and not held and form.sent.sha256 else {}
    return JsonResponse(
        {
            "file": file.code,
            "state": file.state,
            "dataset": file.dataset.code,
            "held": held,
            "addresses": _addresses(file, only) if only else {},
            "part_size": file.part_size_bytes,
            "parts": file.part_count,
            "urls": {
                "parts": reverse("datasets:parts", args=[file.code]),
                "complete": reverse("datasets:complete", args=[file.code]),
                "cancel": reverse("datasets:cancel", args=[file.code]),
                "dataset": reverse("datasets:detail", args=[file.dataset.code]),
                "states": reverse("datasets:states"),
                "version": reverse("datasets:make_version", args=[file.dataset.code]),
            },
        },
        status=201,
    )


@browser_or_terminal
@require_http_methods(["GET", "HEAD", "POST"])
@_answers_json
def parts(request: HttpRequest, code: str) -> HttpResponse:
    """GET: the parts the store holds. POST: addresses for the parts whose SHA-256 is given, good for 300 s."""
    file = _open_upload(request, code)
    if request.method != "POST":
        return JsonResponse({"held": [part.number for part in uploading.parts_held(file)]})
    form = _valid(PartsForm(request.POST))
    if wait_s := wait_for(request, "presign", len(form.cleaned_data["parts"])):
        return _too_many(wait_s)
    return JsonResponse({"parts": _addresses(file, form.cleaned_data["parts"])})


@browser_or_terminal
@require_POST
@_answers_json
def complete(request: HttpRequest, code: str) -> HttpResponse:
    file = _open_upload(request, code, also_completed=True)
    form = _valid(CompleteForm(request.POST))
    uploading.complete(file, parts_sha256=form.cleaned_data["parts_sha256"])
    return JsonResponse({"state": file.state})


@browser_or_terminal
@require_POST
def cancel(request: HttpRequest, code: str) -> HttpResponse:
    file = find_own_upload(request, code)
    uploading.cancel(file, by=user_of(request))
    if request.headers.get("Accept", "").startswith("application/json"):
        return HttpResponse(status=204)
    messages.success(request, _("The upload of “%(name)s” was cancelled.") % {"name": file.name})
    return redirect("datasets:list")


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def plain(request: HttpRequest) -> HttpResponse:
    """Without script, step one: the place and the name. `?dataset=` adds to a dataset."""
    projects = projects_to_upload(user_of(request), current_of(request))
    code = request.POST.get("dataset") or request.GET.get("dataset") or ""
    dataset = find_dataset(request, code) if code else None
    if dataset is not None:
        require(request.user, Permission.UPLOAD, dataset.project)
    elif not projects:
        current = current_of(request)
        if current.organization is None:
            return redirect("datasets:list")
        require(request.user, Permission.UPLOAD, current.project or current.organization)
    form = PlainForm(
        request.POST if request.method == "POST" else None,
        projects=projects,
        dataset=dataset,
        initial={"dataset": code, "project": getattr(current_of(request).project, "code", "")},
    )
    if form.is_bound and form.is_valid():
        try:
            file = _begin_plain(request, form, dataset)
        except (uploading.UploadRefused, quota.OverQuota) as why:
            form.add_error(None, why)
        else:
            return redirect("datasets:send", file.code)
    context = {"form": form, "dataset": dataset, "max_bytes": uploading.PLAIN_MAX_BYTES}
    return render(request, "datasets/plain.html", context, status=422 if form.errors else 200)


@login_required
@require_safe
@limited("presign")
def send(request: HttpRequest, code: str) -> HttpResponse:
    """Without script, step two: the form that goes to the store, good for 15 minutes."""
    file = find_own_upload(request, code)
    require(request.user, Permission.UPLOAD, file.dataset.project)
    if file.state != FileState.UPLOADING or file.part_size_bytes:
        return redirect("datasets:detail", file.dataset.code)
    back = settings.PORTAL_URL + reverse("datasets:posted", args=[file.code])
    context = {
        "file": file,
        "post": uploading.plain_form(file, redirect_to=back),
        "max_bytes": uploading.PLAIN_MAX_BYTES,
        "minutes": uploading.PLAIN_EXPIRES_S // 60,
    }
    return render(request, "datasets/send.html", context)


@login_required
@require_safe
def posted(request: HttpRequest, code: str) -> HttpResponse:
    """The store sends the browser here when it has the file; opened again it changes nothing."""
    file = find_own_upload(request, code)
    require(request.user, Permission.UPLOAD, file.dataset.project)
    try:
        uploading.posted(file)
    except (uploading.UploadRefused, quota.OverQuota) as why:
        messages.error(request, str(why.message))
        return redirect("datasets:send", file.code)
    except StorageError:
        messages.error(request, _storage_away())
    return redirect("datasets:detail", file.dataset.code)


def _begin_plain(request: HttpRequest, form: PlainForm, dataset: Dataset | None) -> DataFile:
    said = form.cleaned_data
    project = dataset.project if dataset else find_project(request, said["project"])
    return uploading.begin_plain(
        project,
        name=said["name"],
        by=user_of(request),
        dataset=dataset,
        dataset_name=said.get("dataset_name", ""),
    )


def _destination(request: HttpRequest, form: BeginForm) -> tuple[Project, Dataset | None]:
    said, scope = form.cleaned_data, scope_in(request)
    if code := said["dataset"] or (scope.dataset.code if scope and scope.dataset else ""):
        dataset = find_dataset(request, code)
        if not is_covered(request, dataset):
            raise Http404
        return dataset.project, dataset
    if scope:
        return scope.project, None
    if not said["project"]:
        raise ValidationError(_("Choose a project."))
    return find_project(request, said["project"]), None


def _open_upload(request: HttpRequest, code: str, *, also_completed: bool = False) -> DataFile:
    file = find_own_upload(request, code)
    require(request.user, Permission.UPLOAD, file.dataset.project)
    if not (file.state == FileState.UPLOADING or also_completed):
        raise ValidationError(_("This upload has ended. Reload the page to see the file."))
    return file


def _addresses(file: DataFile, digests: dict[int, str]) -> dict[int, dict[str, Any]]:
    made = uploading.addresses(file, digests)
    return {number: {"url": part.url, "headers": part.headers} for number, part in made.items()}


def _valid(form: AnyForm) -> AnyForm:
    if not form.is_valid():
        raise ValidationError([str(error) for errors in form.errors.values() for error in errors])
    return form


def _error(sentence: str, status: int) -> JsonResponse:
    return JsonResponse({"error": sentence}, status=status)


def _too_many(wait_s: int) -> JsonResponse:
    response = _error(_("Too many requests. Wait a minute and try again."), 429)
    response["Retry-After"] = str(wait_s)
    return response


def _storage_away() -> str:
    return _("The storage cannot be reached. Nothing is lost; try again in a minute.")
