"""Which copy of a job may run: a machine asks before it does anything, where copies share no disk (DOK).

A request that was late on its way makes a second copy at the provider, and no look can prevent that. Here the first
copy to ask gets the attempt, and the second ends without running anything.
"""

from __future__ import annotations

import enum

import structlog
from django.conf import settings
from django.core.cache import cache
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.db.models.functions import Now
from django.urls import reverse

from portal.jobs.models import Attempt
from portal.jobs.states import AttemptState

log = structlog.get_logger(__name__)

_OF_CHECK = "check:"  # no attempt's code has a colon
_CHECK_S = 86_400  # longer than a check lasts


class Answer(enum.Enum):
    YOURS = 200  # also when the same copy asks again, because it did not hear
    TAKEN = 409
    OVER = 410  # the attempt has ended, or is to be stopped: nothing needs to run


def address_of(attempt: Attempt) -> str:
    """Where a copy of this attempt asks; empty where machines cannot reach the portal (MACHINES_URL).

    The token is the attempt's code, signed: nothing is stored, and an attempt that is sent again has one claim still.
    """
    return _address(attempt.code)


def address_of_check(name: str) -> str:
    """The same for a job of `manage.py check_provider`, which is no attempt; `name` is that job's alone, of letters,
    digits, dots and dashes."""
    return _address(f"{_OF_CHECK}{name}")


def code_in(token: str) -> str | None:
    """What the token was made for: an attempt's code, or a check's; None: we never made it."""
    try:
        return _signer().unsign(token)
    except BadSignature:
        return None


def claim(code: str, *, copy: str, remote_id: str) -> Answer | None:
    """Give the attempt to this copy, if no other has it. `remote_id`: its job at the provider, or "". None: no attempt.

    While we do not know the provider's id, whoever asks first wins, and the hand-off adopts that job. Once it is
    known, only that job may run: it is the one that is tracked and paid for, and any other is about to be cancelled.

    Only accounts with the option `own_id` are believed about the id: that DOK's SAKURA_TASK_ID is its interface's id
    is written nowhere, and if it were not, every job would be turned away. Without it the first to ask always wins.
    """
    if code.startswith(_OF_CHECK):
        return _claim_of_check(code, copy)
    with transaction.atomic():
        rows = Attempt.objects.select_for_update(of=("self",)).select_related("job", "account")
        attempt = rows.filter(code=code).first()
        if attempt is None:
            return None
        if attempt.account.options.get("own_id") != "true":
            remote_id = ""
        answer = _answer(attempt, copy, remote_id)
        if answer == Answer.YOURS and not attempt.claimed_by:
            Attempt.objects.filter(pk=attempt.pk).update(claimed_by=copy, claimed_remote_id=remote_id, claimed_at=Now())
    if answer != Answer.YOURS:
        log.warning("copy turned away", attempt=code, remote_id=remote_id, why=answer.name)
    return answer


def _address(code: str) -> str:
    if not settings.MACHINES_URL:
        return ""
    return str(settings.MACHINES_URL + reverse("machine:claim", args=[_signer().sign(code)]))


def _claim_of_check(code: str, copy: str) -> Answer:
    """The first to ask wins. Kept in the cache: such a job has no row, and is gone before the cache forgets it."""
    key = f"jobs:claim:{code}"
    return Answer.YOURS if cache.add(key, copy, _CHECK_S) or cache.get(key) == copy else Answer.TAKEN


def _answer(attempt: Attempt, copy: str, remote_id: str) -> Answer:
    if attempt.state == AttemptState.ENDED or attempt.job.stop_requested_at is not None:
        return Answer.OVER
    if attempt.claimed_by:
        return Answer.YOURS if attempt.claimed_by == copy else Answer.TAKEN
    if attempt.remote_id and remote_id not in ("", attempt.remote_id):
        return Answer.TAKEN
    return Answer.YOURS


def _signer() -> Signer:
    """With the keys that may be changed while jobs run."""
    newest, *older = settings.CREDENTIALS_KEYS
    return Signer(key=newest, fallback_keys=list[bytes | str](older), salt="jobs.claim")
