"""What a URL names, for those who may see it (everybody else gets 404), and pages of rows."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404

from portal.accounts.access import access_of
from portal.accounts.context import Current
from portal.accounts.models import Project, User
from portal.accounts.roles import Permission
from portal.datasets.models import DataFile, Dataset, DatasetVersion, DeletionCertificate
from portal.datasets.views.admission import is_covered

PAGE = 25


def find_dataset(request: HttpRequest, code: str) -> Dataset:
    datasets = Dataset.objects.visible_to(user_of(request)).select_related(
        "organization", "project__organization", "project__storage_allowance", "created_by"
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


def find_version(request: HttpRequest, code: str, number: int) -> DatasetVersion:
    versions = DatasetVersion.objects.visible_to(user_of(request)).select_related(
        "dataset__organization", "dataset__project__organization", "created_by"
    )
    return get_object_or_404(versions, dataset__code=_plain(code), number=min(number, 2**31 - 1))


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


def page_of(request: HttpRequest, *sets: Any) -> tuple[list[Any], str, str]:
    """Of one or more sets of rows, newest first by id, with the URLs of the pages before and after (empty at the
    ends)."""
    before, after = number_in(request, "before"), number_in(request, "after")
    if after:
        found = sorted((row for rows in sets for row in rows.filter(pk__gt=after).order_by("pk")[: PAGE + 1]), key=_pk)
        has_newer, has_older = len(found) > PAGE, True
        found = found[:PAGE][::-1]
    else:
        older = (rows.filter(pk__lt=before) if before else rows for rows in sets)
        found = sorted((row for rows in older for row in rows.order_by("-pk")[: PAGE + 1]), key=_pk, reverse=True)
        has_newer, has_older = bool(before), len(found) > PAGE
        found = found[:PAGE]
    if not found:
        return [], _url(request) if before or after else "", ""
    return (
        found,
        _url(request, after=found[0].pk) if has_newer else "",
        _url(request, before=found[-1].pk) if has_older else "",
    )


def _pk(row: Any) -> int:
    return int(row.pk)


def _url(request: HttpRequest, **place: int) -> str:
    """This page at another place of its list."""
    query = request.GET.copy()
    for name in ("after", "before", "versions_before"):
        query.pop(name, None)
    query.update({name: str(pk) for name, pk in place.items()})
    return f"{request.path}?{query.urlencode()}" if query else request.path


def number_in(request: HttpRequest, name: str) -> int:
    """A key in the address; 0 for none, and for what is no key."""
    text = request.GET.get(name)
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0


def _plain(code: str) -> str:
    return code.replace("\0", "")  # PostgreSQL has no such letter
