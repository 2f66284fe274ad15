"""What a URL names, for those who may see it (everybody else gets 404), and pages of rows."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404

from portal.accounts.access import access_of
from portal.accounts.context import Current
from portal.accounts.models import Project, User
from portal.accounts.roles import Permission
from portal.datasets.models import DataFile, Dataset, DeletionCertificate
from portal.datasets.views.admission import is_covered

PAGE = 25


def find_dataset(request: HttpRequest, code: str) -> Dataset:
    datasets = Dataset.objects.visible_to(user_of(request)).select_related(
        "organization", "project__organization", "project__storage_allowance"
    )
    return get_object_or_404(datasets, code=_plain(code))


def find_certificate(request: HttpRequest, code: str) -> DeletionCertificate:
    certificates = DeletionCertificate.objects.visible_to(user_of(request)).select_related(
        "organization", "project", "dataset", "by"
    )
    return get_object_or_404(certificates, code=_plain(code))


def find_file(request: HttpRequest, code: str) -> DataFile:
    files = DataFile.objects.visible_to(user_of(request)).select_related(
        "dataset__organization", "dataset__project__organization"
    )
    return get_object_or_404(files, code=_plain(code))


def find_own_upload(request: HttpRequest, code: str) -> DataFile:
    """Only who began an upload goes on with it; for others there is none."""
    files = DataFile.objects.visible_to(user_of(request)).select_related(
        "dataset__organization", "dataset__project__organization"
    )
    file = get_object_or_404(files, code=_plain(code), created_by=user_of(request))
    if not is_covered(request, file.dataset):
        raise Http404
    return file


def find_project(request: HttpRequest, code: str) -> Project:
    projects = Project.objects.visible_to(user_of(request)).select_related("organization")
    return get_object_or_404(projects, code=_plain(code))


def projects_to_upload(user: User, current: Current) -> list[Project]:
    access = access_of(user)
    return [project for project in current.projects if access.may_in(project, Permission.UPLOAD)]


def user_of(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # login_required stands before
    return request.user


def page_of(request: HttpRequest, rows: Any) -> tuple[list[Any], str, str]:
    """Newest first by id, with the URLs of the pages before and after (empty at the ends)."""
    before, after = _number(request.GET.get("before")), _number(request.GET.get("after"))
    if after:
        found = list(rows.filter(pk__gt=after).order_by("pk")[: PAGE + 1])
        has_newer, has_older = len(found) > PAGE, True
        found = found[:PAGE][::-1]
    else:
        found = list((rows.filter(pk__lt=before) if before else rows).order_by("-pk")[: PAGE + 1])
        has_newer, has_older = bool(before), len(found) > PAGE
        found = found[:PAGE]
    if not found:
        return [], request.path if before or after else "", ""
    return (
        found,
        f"{request.path}?after={found[0].pk}" if has_newer else "",
        f"{request.path}?before={found[-1].pk}" if has_older else "",
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0


def _plain(code: str) -> str:
    return code.replace("\0", "")  # PostgreSQL has no such letter
