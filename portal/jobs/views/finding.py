"""The job a URL names, for those who may see it; everybody else gets 404."""

from __future__ import annotations

from typing import cast

from django.http import HttpRequest
from django.shortcuts import get_object_or_404

from portal.accounts.access import access_of
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.jobs.models import Job


def find_job(request: HttpRequest, code: str) -> Job:
    jobs = Job.objects.visible_to(user_of(request)).select_related(
        "organization", "project", "submitted_by", "price", "offering__provider", "offering__site"
    )
    return get_object_or_404(jobs.defer("script", "sealed_secrets"), code=code)


def user_of(request: HttpRequest) -> User:
    """The person behind a request that login_required let through."""
    return cast(User, request.user)


def may_stop(user: User, job: Job) -> bool:
    needed = Permission.SUBMIT if job.submitted_by_id == user.pk else Permission.STOP_ANY
    return access_of(user).may_in(job.project, needed)
