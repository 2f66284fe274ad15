"""The form is sent: policy, money, job, event and audit link in one transaction, then a nudge."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from portal.accounts.access import NotPermitted, require
from portal.accounts.models import Project, User
from portal.accounts.roles import Permission
from portal.audit import recording as audit
from portal.billing import approvals
from portal.billing.holds import OverBudget, hold
from portal.billing.models import SpendRequest
from portal.core.failpoints import failpoint
from portal.core.sealing import seal
from portal.datasets import reading
from portal.datasets.models import DataFile, Dataset, FileState, VersionState
from portal.jobs import tasks
from portal.jobs.attaching import check_count, files_to_read, told
from portal.jobs.estimates import Quote, quote
from portal.jobs.models import Attempt, Job, JobEvent, JobInput, SubmitKey
from portal.jobs.places import Place, Refused, place_at
from portal.jobs.placing import placement_of
from portal.jobs.request import JobRequest
from portal.jobs.states import JobState


def submit(project: Project, *, request: JobRequest, key: str, by: User) -> Job:
    """Hold the money, store the job as submitted, nudge the hand-off on commit.

    The same key and content again answer with the same job, however many at once. The hold is the smaller of the cost
    cap and what the job costs if it runs to its time limit as often as it may, at the dearest of its places, rounded up
    to whole yen: it can never be charged more.
    Raises OverBudget, NotPermitted, Refused; nothing is stored then.
    """
    digest = digest_of(project, request)
    try:
        with transaction.atomic():
            return _store(project, request, key, digest, by)
    except (IntegrityError, NotPermitted, Refused, OverBudget):
        # Sent before, by whatever was clicked twice: the first answer is this one's too, whatever has changed since.
        if known := _answered_before(by, key, digest):
            return known
        raise


def ask_approval(
    project: Project, *, request: JobRequest, form: Mapping[str, Any], reason: str, by: User
) -> SpendRequest:
    """Instead of submitting what a budget does not let in: keep the form and ask those who manage the money.

    `form` is what the job form may keep. The same job again is the same request. Raises NotPermitted, Refused.
    """
    require(by, Permission.SUBMIT, project)
    amount = hold_for(project, request, place_at(project, request, request.offering, now=timezone.now()))
    digest = _digest_to_approve(project, request)
    return approvals.ask(project, job_name=request.name, amount=amount, digest=digest, form=form, reason=reason, by=by)


def _digest_to_approve(project: Project, request: JobRequest) -> str:
    """Of the job without the values of its secrets, which no kept form has: they are typed again."""
    return digest_of(project, replace(request, secrets=dict.fromkeys(request.secrets, "")))


def digest_of(project: Project, request: JobRequest) -> str:
    """SHA-256 of the canonical form: the same for the same wishes, whatever their order."""
    content = [
        project.code,
        request.name,
        "" if request.placed else request.offering.slug,
        request.gpus,
        request.time_limit_s,
        request.cost_cap,
        request.command,
        request.script,
        request.script_name,
        request.image,
        dict(request.environment),
        dict(request.secrets),
        sorted(file.code for file in request.inputs),
        request.template,
        [] if request.placed else [other.slug for other in request.alternatives],
        request.retries,
    ]
    if request.placed:  # by what was asked for: the places that come of it may be others a moment later
        content.append(request.placed.spec.wishes())
    if request.attached:
        content.append(
            sorted(
                [one.version.dataset.code, one.version.number, sorted(file.code for file in one.files or ())]
                for one in request.attached
            )
        )
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _answered_before(by: User, key: str, digest: str) -> Job | None:
    row = SubmitKey.objects.filter(user=by, key=key).first()
    if row is None:
        return None
    if row.digest != digest:
        raise Refused(
            _("This form has already created a job. To create another one with what it says now, send it again."), "key"
        )
    return row.job


def _store(project: Project, request: JobRequest, key: str, digest: str, by: User) -> Job:
    now = timezone.now()
    require(by, Permission.SUBMIT, project)
    place = replace(place_at(project, request, request.offering, now=now), placed=request.placed)
    account, offering = place.account, place.offering
    inputs = inputs_of(project, request)
    held = hold_for(project, request, place)
    actor = f"user:{by.pk}"
    job = job_of(project, request, place, by=by, now=now)
    job.save(force_insert=True)
    # Here a copy of the same form waits for this transaction, before either has locked anything that others want.
    SubmitKey.objects.create(user=by, key=key, digest=digest, job=job)
    JobInput.objects.bulk_create(
        JobInput(job=job, data_file=file, path=path, size_bytes=file.size_bytes, sha256=file.sha256)
        for path, file in inputs.items()
    )
    Attempt.objects.create(job=job, number=1, account=account, offering=offering, price=place.price)
    if request.placed:
        placement_of(job, 1, request.placed, chosen=offering).save(force_insert=True)
    JobEvent.objects.create(
        job=job, at=now, kind="state", after=JobState.SUBMITTED, reason="submitted", by=actor,
        detail=told_placed(request, place),
    )  # fmt: skip
    approvable = _digest_to_approve(project, request)
    hold(project.organization, project=project, job_code=job.code, amount=held, by=actor, digest=approvable)
    audit.record(
        "job.submitted",
        f"job:{job.code}",
        actor=actor,
        chain=project.organization.code,
        detail=told_of(project, request, held),
    )
    tasks.nudge(tasks.hand_off, account.pk)
    failpoint("submit.before_commit")
    return job


def job_of(project: Project, request: JobRequest, place: Place, *, by: User, now: datetime) -> Job:
    """Its row, not stored yet."""
    return Job(
        organization=project.organization,
        project=project,
        submitted_by=by,
        name=request.name,
        template=request.template,
        script=request.script,
        script_name=request.script_name,
        command=request.command,
        image=request.image,
        environment=dict(request.environment),
        datasets=told(request.attached, request.inputs),
        secret_names=sorted(request.secrets),
        sealed_secrets=seal(request.secrets) if request.secrets else "",
        offering=place.offering,
        price=place.price,
        offer_snapshot=place.snapshot(),
        gpus=request.gpus,
        time_limit_s=request.time_limit_s,
        cost_cap=request.cost_cap,
        alternatives=[{"slug": o.slug, "architecture": o.architecture} for o in request.alternatives],
        retries=request.retries,
        submitted_at=now,
        state_since=now,
    )


def told_of(project: Project, request: JobRequest, held: int) -> dict[str, Any]:
    """What the audit trail is told of a submit."""
    return {
        "project": project.code,
        "offering": request.offering.slug,
        "gpus": request.gpus,
        "time_limit_s": request.time_limit_s,
        "held_yen": held,
    }


def told_placed(request: JobRequest, place: Place) -> dict[str, Any]:
    """The first attempt with its price and the reason for its place, before anything is spent there; {} where a person
    has chosen it."""
    if request.placed is None:
        return {}
    candidates, offering = request.placed.decision.candidates, place.offering
    return {
        "to": offering.slug,
        "to_ja": offering.name_ja,
        "to_en": offering.name_en,
        "at_most_yen": _quoted(place, request).maximum,
        "strategy": request.placed.spec.strategy,
        "of": len(candidates),
    }


def hold_for(project: Project, request: JobRequest, place: Place) -> int:
    """Yen to set aside: for the dearest of the places that the cap allows. Raises Refused."""
    estimate = _quoted(place, request)
    if request.cost_cap < estimate.minimum:
        raise Refused(
            format_lazy(_("The cost cap must be at least {yen} yen on this offering."), yen=f"{estimate.minimum:,}"),
            "cost_cap",
        )
    _check_seen(place, request)
    if request.placed:  # each candidate costs no more than the cap, and is asked again before the job goes there
        tries = request.retries + 1
        return max(
            [estimate.hold, *(min(one.yen * tries, request.cost_cap) for one in request.placed.decision.candidates)]
        )
    return max([estimate.hold, *_holds_elsewhere(project, request, timezone.now())])


def _check_seen(place: Place, request: JobRequest) -> None:
    """The price may have changed while the page was open: nobody pays another one than they saw."""
    if request.seen_prices is not None and place.price.pk not in request.seen_prices:
        raise Refused(
            _("The price of this plan has changed since you opened the page. Check the new quote and send it again."),
            "offering",
        )


def _holds_elsewhere(project: Project, request: JobRequest, now: datetime) -> Iterator[int]:
    """Yen to set aside for each of the other places that the cap allows. Raises Refused for one that
    could never take the job, so that nobody counts on it."""
    for other in request.alternatives:
        try:
            place = place_at(project, request, other, now=now)
            _check_seen(place, request)
        except Refused as no:
            sentence = format_lazy("{name}: {why}", name=other.name, why=no.message)
            raise Refused(sentence, no.field if no.field == "project" else "alternatives") from None
        there = _quoted(place, request)
        if there.maximum <= request.cost_cap:  # else the cap lets it go there never
            yield there.hold


def _quoted(place: Place, request: JobRequest) -> Quote:
    return quote(
        place.offering,
        place.price,
        gpus=request.gpus,
        time_limit_s=request.time_limit_s,
        cost_cap=request.cost_cap,
        tries=request.retries + 1,
    )


def inputs_of(project: Project, request: JobRequest) -> dict[str, DataFile]:
    """Files by the path at which the job sees them. Within reach are verified files of this very project and of
    datasets that are shared with it now."""
    if not (request.attached or request.inputs):
        return {}
    gone = Refused(_("An input file is no longer there. Choose the input again."), "inputs")
    try:
        check_count(sum(one.file_count for one in request.attached) + len(request.inputs))
    except ValidationError as many:
        raise Refused(many.message, "inputs") from None
    reading.hold([file.pk for file in request.inputs], [one.version.dataset_id for one in request.attached])
    reach = Dataset.objects.attachable_to(project)
    versions = {one.version.pk for one in request.attached}
    if versions and reach.filter(versions__in=versions, versions__state=VersionState.READY).count() != len(versions):
        raise gone
    files: list[DataFile] = []
    wanted = 0
    for one in request.attached:
        wanted += one.file_count
        files += files_to_read(one)
    if alone := {file.pk for file in request.inputs}:
        wanted += len(alone)
        readable = DataFile.objects.filter(pk__in=alone, state=FileState.READY, dataset__in=reach)
        files += readable.select_related("dataset").order_by("pk")
    if len(files) != wanted:
        raise gone
    found = {file.path: file for file in files}
    if len(found) != len(files):  # a shared dataset may be called like an own one
        raise Refused(_("Two of the chosen files have the same path in a job. Choose one of them."), "inputs")
    return found
