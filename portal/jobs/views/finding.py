"""The job a URL names, for those who may see it; everybody else gets 404."""

from __future__ import annotations

from typing import cast

from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import get_object_or_404

from portal.accounts.access import access_of
from portal.accounts.models import User
from portal.accounts.roles import Permission
from portal.audit import recording as audit
from portal.jobs.models import Job

# Large, or never on a job's page: half of all the columns that the joined rows have.
UNSHOWN = (
    "script", "sealed_secrets", "offer_snapshot", "log_bytes", "state_since", "stop_requested_by",
    *(f"submitted_by__{name}" for name in (
        "password", "last_login", "language", "is_staff", "is_active", "date_joined",
    )),
    *(f"project__{name}" for name in ("description", "created_at")),
    *(f"price__{name}" for name in ("valid_from", "valid_to", "source", "as_of", "confirmed")),
    *(f"offering__{name}" for name in (
        "gpus_min", "gpus_max", "gpus_step", "gpus_per_node", "architecture_confirmed", "cpu_cores", "memory_gb",
        "disk_gb", "interconnect", "plan", "on_request", "best_of_units", "time_limit_max_s", "note_ja",
        "note_en", "active", "ends_on", "unlisted_since", "source", "as_of", "confirmed", "demo_only",
        "contracting_member", "service_member", "host_member", "gpu_memory_gb", "kind",
    )),
    *(f"offering__site__{name}" for name in ("provider", "country", "source", "as_of", "confirmed")),
)  # fmt: skip


def find_job(request: HttpRequest, code: str) -> Job:
    jobs = Job.objects.visible_to(user_of(request)).select_related(
        "project", "submitted_by", "price", "offering__provider", "offering__site", "task__sweep"
    )
    return get_object_or_404(jobs.defer(*UNSHOWN), code=code)


def user_of(request: HttpRequest) -> User:
    """The person behind a request that login_required let through."""
    return cast(User, request.user)


def record_download(request: HttpRequest, act: str, job: Job, **detail: str) -> None:
    """Who took what out of here."""
    with transaction.atomic():
        audit.record(
            act,
            f"job:{job.code}",
            actor=f"user:{user_of(request).pk}",
            chain=job.organization.code,
            detail={"project": job.project.code, **detail},
        )


def may_stop(user: User, job: Job) -> bool:
    needed = Permission.SUBMIT if job.submitted_by_id == user.pk else Permission.STOP_ANY
    return access_of(user).may_in(job.project, needed)
