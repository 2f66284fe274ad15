"""The line in front of an account that may run only so many jobs at once: the portal sends the next when one has ended.

The provider would take them all and let them wait without a word. In our line a job has a place, can be stopped at
once, and is still checked against closed projects and lost rights when its turn comes.
"""

from __future__ import annotations

from dataclasses import dataclass

from portal.catalog.models import ProviderAccount
from portal.jobs.models import Attempt, Job
from portal.jobs.states import AttemptState, JobState, WaitingReason

# Also those that may be there without our knowing: a place given twice would be one job too many.
AT_WORK = (
    AttemptState.SENDING,
    AttemptState.UNKNOWN,
    AttemptState.ACCEPTED,
    AttemptState.RUNNING,
    AttemptState.STOPPING,
)


@dataclass(frozen=True)
class Place:
    number: int  # 1 is the next
    at_once: int  # jobs that the account may run at the same time


def has_room(account: ProviderAccount) -> bool:
    """May one more be sent? Inside a transaction: until its end nobody else is told yes for the same place."""
    if account.concurrent_limit is None:
        return True
    # The lock first and the count in a statement of its own, which sees what the lock's last holder wrote.
    locked = ProviderAccount.objects.select_for_update(no_key=True).only("concurrent_limit").get(pk=account.pk)
    at_work = Attempt.objects.unfinished().filter(account=account, state__in=AT_WORK).count()
    return locked.concurrent_limit is None or at_work < locked.concurrent_limit


def place_of(job: Job) -> Place | None:
    """Where a job stands among those that wait for the same account; None: it stands in no line."""
    if job.state != JobState.SUBMITTED or job.waiting_reason != WaitingReason.QUOTA:
        return None
    attempts = job.attempts.filter(state=AttemptState.INTENDED, account__concurrent_limit__isnull=False)
    attempt = attempts.select_related("account").only("account__concurrent_limit").first()
    if attempt is None or attempt.account.concurrent_limit is None:
        return None
    before = Attempt.objects.unfinished().filter(
        account=attempt.account_id, state=AttemptState.INTENDED, pk__lt=attempt.pk
    )
    return Place(before.count() + 1, attempt.account.concurrent_limit)
