"""Does every job hold the promises of its life (lost, doubled, untold, unpaid)? Read only; repairs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from portal.catalog.models import ProviderAccount
from portal.catalog.provider_accounts import adapter_of
from portal.jobs import orphans
from portal.jobs.keys import key_of, key_prefix
from portal.jobs.line import AT_WORK
from portal.jobs.models import Attempt
from portal.jobs.states import FINAL, AttemptState
from portal.providers.errors import ProviderError

# Longer than anybody leaves a provider alone that asked for time (half an hour), and the call after that.
BEGUN_WITHIN_S = 3600


@dataclass(frozen=True)
class Problem:
    """`found` stands where `expected` should."""

    check: str
    subject: str  # a job's code; for a provider's jobs its own number
    expected: str
    found: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def verify() -> list[Problem]:
    """Every broken invariant; [] when all hold. All checks see one moment."""
    with transaction.atomic():
        if not connection.savepoint_ids:  # the outermost transaction, so nothing was read in it yet
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return [problem for check, sql in CHECKS.items() for problem in _run(check, sql)]


def _run(check: str, sql: str) -> Iterator[Problem]:
    """Each query gives subject, expected, found of what is wrong."""
    with connection.cursor() as cursor:
        final, at_work = sorted(state.value for state in FINAL), [state.value for state in AT_WORK]
        cursor.execute(sql, {"final": final, "at_work": at_work, "within_s": BEGUN_WITHIN_S})
        for subject, expected, found in cursor.fetchall():
            yield Problem(check, subject, expected, found)


_LAST_ATTEMPT = """
    JOIN LATERAL (SELECT * FROM jobs_attempt WHERE job_id = j.id ORDER BY number DESC LIMIT 1) a ON true
"""

CHECKS = {
    "a job that goes on has somebody at work on it": """
        SELECT j.code, 'an attempt that is not over', 'none' FROM jobs_job j
        WHERE j.state <> ALL (%(final)s)
          AND NOT EXISTS (SELECT 1 FROM jobs_attempt a WHERE a.job_id = j.id AND a.collected_at IS NULL)
        ORDER BY j.code
    """,
    "job and attempt tell the same": f"""
        SELECT j.code, allowed.states, a.state FROM jobs_job j {_LAST_ATTEMPT}
        JOIN (VALUES ('submitted', 'intended sending unknown'), ('queued', 'accepted stopping unknown'),
                     ('starting', 'accepted running stopping unknown'), ('running', 'running stopping unknown'),
                     ('finishing', 'ended')) AS allowed (job_state, states)
          ON job_state = CASE WHEN j.state = ANY (%(final)s) THEN 'finishing' ELSE j.state END
        WHERE a.state <> ALL (string_to_array(allowed.states, ' ')) ORDER BY j.code
    """,  # noqa: S608 - constants of this file
    "a job is in the state that its last event names": """
        SELECT j.code, coalesce(e.after, 'none'), j.state FROM jobs_job j
        LEFT JOIN LATERAL (SELECT after FROM jobs_jobevent WHERE job_id = j.id AND kind = 'state'
                           ORDER BY id DESC LIMIT 1) e ON true
        WHERE e.after IS DISTINCT FROM j.state ORDER BY j.code
    """,
    "each event begins where the one before it ended": """
        SELECT j.code, e.previous, e.before FROM jobs_job j
        JOIN (SELECT job_id, before, coalesce(lag(after) OVER (PARTITION BY job_id ORDER BY id), '') AS previous
              FROM jobs_jobevent WHERE kind = 'state') e ON e.job_id = j.id
        WHERE e.before <> e.previous ORDER BY j.code
    """,
    "each change of state is in the audit trail, once": """
        SELECT j.code, count(e.id)::text, coalesce(min(told.links), 0)::text FROM jobs_job j
        JOIN jobs_jobevent e ON e.job_id = j.id AND e.kind = 'state'
        LEFT JOIN (SELECT subject, count(*) AS links FROM audit_auditevent
                   WHERE act IN ('job.submitted', 'job.moved') GROUP BY subject) told ON told.subject = 'job:' || j.code
        GROUP BY j.id HAVING count(e.id) <> coalesce(min(told.links), 0) ORDER BY j.code
    """,
    "money is set aside while the job goes on, and no longer": """
        SELECT coalesce(j.code, h.job_code),
               CASE WHEN j.id IS NULL THEN 'no hold without its job'
                    WHEN j.state = ANY (%(final)s) THEN 'released' ELSE 'held' END,
               CASE WHEN h.id IS NULL THEN 'no hold' WHEN h.released_at IS NULL THEN 'held' ELSE 'released' END
        FROM jobs_job j FULL JOIN billing_hold h ON h.job_code = j.code
        WHERE h.id IS NULL OR j.id IS NULL OR (j.state = ANY (%(final)s)) = (h.released_at IS NULL) ORDER BY 1
    """,
    "a job costs what its charges add up to": """
        SELECT j.code, coalesce(sum(c.amount), 0)::text, j.cost::text FROM jobs_job j
        LEFT JOIN billing_charge c ON c.job_code = j.code
        GROUP BY j.id HAVING j.cost <> coalesce(sum(c.amount), 0) ORDER BY j.code
    """,
    "no job costs more than its cap": """
        SELECT code, 'at most ' || cost_cap, cost::text FROM jobs_job WHERE cost > cost_cap ORDER BY code
    """,
    "a job ends after it began": """
        SELECT code, started_at::text, ended_at::text FROM jobs_job WHERE ended_at < started_at ORDER BY code
    """,
    "secrets are gone when the job has ended": """
        SELECT code, 'wiped', 'stored' FROM jobs_job
        WHERE state = ANY (%(final)s) AND sealed_secrets <> '' ORDER BY code
    """,
    # To be handed over, to be asked about, to be collected. Openly left alone are those of a provider that is in
    # trouble or was lately, those that wait in line for a place, and those that it no longer lists. One that is due
    # behind many others has waited for nobody as long as others of its account are still taken.
    "what is due is begun within the hour": """
        WITH touched AS (
            SELECT account_id,
                   max(greatest(sent_at, lease_until, not_before)) FILTER (WHERE state <> 'ended') AS taken,
                   max(sent_at) AS sent,
                   max(greatest(collected_at, lease_until, not_before)) FILTER (WHERE state = 'ended') AS collected,
                   count(*) FILTER (WHERE collected_at IS NULL AND state = ANY (%(at_work)s)) AS at_work
            FROM jobs_attempt GROUP BY account_id
        )
        SELECT j.code, 'begun', a.state || ', due since ' || due.since FROM jobs_attempt a
        JOIN jobs_job j ON j.id = a.job_id
        JOIN catalog_provideraccount p ON p.id = a.account_id
        JOIN touched ON touched.account_id = a.account_id
        CROSS JOIN LATERAL (SELECT
            greatest(a.created_at, a.lease_until, a.not_before, a.seen_at, j.state_since) AS since,
            CASE WHEN a.state = 'ended' THEN touched.collected
                 WHEN a.remote_id = '' THEN greatest(touched.taken, touched.sent) END AS others
        ) due
        WHERE a.collected_at IS NULL
          AND greatest(due.since, due.others, p.failing_since, p.paused_until)
              < statement_timestamp() - make_interval(secs => %(within_s)s)
          AND NOT (a.state = 'intended' AND coalesce(p.concurrent_limit <= touched.at_work, false))
          AND NOT (a.state = 'unknown' AND a.remote_id <> '')
        ORDER BY j.code
    """,
}
AT_PROVIDERS = "a job is at its provider once"


def verify_at_providers() -> tuple[list[Problem], list[str]]:
    """What the providers list of the last days against what we know; and which of them could not be asked."""
    problems: list[Problem] = []
    silent: list[str] = []
    for account in ProviderAccount.objects.filter(active=True).order_by("pk"):
        since = timezone.now() - orphans.LOOK_BACK
        try:
            listed = list(adapter_of(account).list_jobs(key_prefix(), since=since))
        except ProviderError as trouble:
            silent.append(f"{account}: {trouble.summary}")
            continue
        alive = Counter(remote.key for remote in listed if not remote.state.is_final)
        rows = Attempt.objects.filter(account=account).select_related("job").defer("job__script")
        known = {key_of(a): a for a in rows.filter(code__in=[key.removeprefix(key_prefix()) for key in alive])}
        for key, count in sorted(alive.items()):
            attempt = known.get(key)
            over = attempt is not None and orphans.is_long_over(attempt)
            if count > 1 or attempt is None or over:
                expected = "one" if attempt and not over else "none"
                problems.append(Problem(AT_PROVIDERS, attempt.job.code if attempt else key, expected, f"{count} alive"))
        here = {remote.remote_id for remote in listed}
        # What was accepted a moment ago may not be listed yet.
        lag = timedelta(seconds=max(60, 2 * adapter_of(account).listing_lag_s))
        known_long = rows.filter(sent_at__gte=since, accepted_at__lt=timezone.now() - lag)
        for attempt in known_long.filter(state__in=[AttemptState.ACCEPTED, AttemptState.RUNNING]):
            if attempt.remote_id not in here:
                problems.append(Problem(AT_PROVIDERS, attempt.job.code, attempt.state, "not listed"))
    return problems, silent
