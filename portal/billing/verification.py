"""Does every figure follow from the entries it sums, and is no budget exceeded? Read only; repairs nothing.

posted + held <= limit holds of each budget at every commit, for the period it is in Japan (a fixed one that has not
begun holds, and posts nothing): a hold beyond it is refused, it never grows by itself (new beginnings and other places
are in it from the submit on), a charge moves what is held to what is posted, a limit is never set below both
(budgets.BelowCommitted), and what is charged after midnight for the period before leaves this one's sum. The one excess
is what somebody has approved for one job, while that job accounts for it (models.Allowance); it is added to the limit.
Two things are no proof of an excess and are not, or not always, told rightly: of periods that are over nothing is said,
because only today's limit is known; and in the first moments of a period a clock that is behind the clock of those who
already held money counts that to the period before.

That a job which has ended holds nothing is in two parts: here, that the ledger holds for each job exactly what its hold
has left, 0 once it is released; in portal.jobs.verification, that the hold is released exactly when its job has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from portal.accounts.models import Organization
from portal.core.periods import billing_month, day_of, fiscal_year, interval_of_fiscal_year


@dataclass(frozen=True)
class Problem:
    """`found` stands where `expected` should, in whole yen or GPU-seconds."""

    check: str
    organization: str  # its code
    subject: str  # "account:held", "posting:…", "day:2026-11-24 project:3 offering:7", "budget:p-…", "budget:all:year"
    expected: int  # of a budget: at most
    found: int

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


def verify(organization: Organization | None = None) -> list[Problem]:
    """Every difference, of one organization or of all; [] when each sum is right. All checks see one moment."""
    with transaction.atomic():
        if not connection.savepoint_ids:  # the outermost transaction, so nothing was read in it yet
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return [problem for check, sql in CHECKS.items() for problem in _run(check, sql, organization)]


def _run(check: str, sql: str, organization: Organization | None) -> Iterator[Problem]:
    """Each query gives organization_id, subject, expected, found of every row that is compared."""
    now = timezone.now()
    month, year = billing_month(now), interval_of_fiscal_year(fiscal_year(now))
    where = "WHERE expected <> found AND (%(organization)s::bigint IS NULL OR organization_id = %(organization)s)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT o.code, subject, expected, found FROM ({sql}) AS compared"  # noqa: S608 - constants of this file
            f" JOIN accounts_organization o ON o.id = organization_id {where} ORDER BY o.code, subject",
            {
                "organization": organization.pk if organization else None,
                "first_day": month.first_day,
                "last_day": month.last_day,
                "year_first_day": day_of(year.start),
                "year_last_day": day_of(year.end) - timedelta(days=1),
                "today": day_of(now),
            },
        )
        for code, subject, expected, found in cursor.fetchall():
            yield Problem(check, code, subject, int(expected), int(found))


def _rollup(table: str, source: str, amount: str, keys: dict[str, str]) -> str:
    """A table of sums against the rows it sums, both ways. `keys`: its columns as expressions over the source."""
    mine = ", ".join(keys)
    theirs = ", ".join(f"{expression} AS {column}" for column, expression in keys.items())
    subject = " || ' ' || ".join(f"'{column.removesuffix('_id')}:' || {column}" for column in keys)
    return f"""
        SELECT organization_id, {subject} AS subject, coalesce(right_sum, 0) AS expected, coalesce(sum, 0) AS found
        FROM (SELECT organization_id, {mine}, {amount} AS sum FROM {table}) AS kept
        FULL JOIN (SELECT organization_id, {theirs}, sum({amount}) AS right_sum FROM {source}
                   GROUP BY organization_id, {", ".join(keys.values())}) AS derived
        USING (organization_id, {mine})
    """  # noqa: S608 - constants of this file


# Charges of jobs, with what their records say.
_JOB_CHARGES = """(
    SELECT c.organization_id, c.job_code, c.day, c.amount, r.price_id, r.gpus, r.seconds, r.gpu_seconds
    FROM billing_charge c JOIN usage_usagerecord r ON r.id = c.record_id) AS job_charges"""
_DAY = {name: name for name in ("day", "project_id", "provider_id", "offering_id")}
# Storage has no offering, and NULL is equal to nothing.
_DAY_OR_STORAGE = {**_DAY, "offering_id": "coalesce(offering_id, 0)"}
_DAILY_CHARGE = """(
    SELECT organization_id, day, project_id, provider_id, coalesce(offering_id, 0) AS offering_id, amount
    FROM billing_dailycharge) AS daily"""
_JOB = {"job_code": "job_code", "month": "date_trunc('month', day)::date"}
# All charges, of storage too.
_CHARGES = """(
    SELECT c.organization_id, c.project_id, c.provider_id, coalesce(c.offering_id, 0) AS offering_id, c.day, c.amount,
        coalesce(r.gpu_seconds, 0) AS gpu_seconds, r.user_id
    FROM billing_charge c LEFT JOIN usage_usagerecord r ON r.id = c.record_id) AS charges"""
_OF_PEOPLE = f"(SELECT * FROM {_CHARGES} WHERE user_id IS NOT NULL) AS of_people"  # noqa: S608 - a constant
_MONTHLY_CHARGE = """(
    SELECT organization_id, month, project_id, provider_id, coalesce(offering_id, 0) AS offering_id, amount, gpu_seconds
    FROM billing_monthlycharge) AS months"""
_MONTH = {"month": "date_trunc('month', day)::date", "project_id": "project_id"}
_MONTH_OR_STORAGE = {**_MONTH, "provider_id": "provider_id", "offering_id": "offering_id"}
_PERSON = {**_MONTH, "user_id": "user_id"}

CHECKS = {
    "posting adds up to zero": """
        SELECT organization_id, 'posting:' || posting AS subject, 0 AS expected, sum(amount) AS found
        FROM billing_ledgerentry GROUP BY organization_id, posting
    """,
    "account follows from the ledger": """
        SELECT organization_id, 'account:' || name AS subject, expected, found
        FROM billing_billingaccount account
        LEFT JOIN (SELECT organization_id,
                          sum(amount) FILTER (WHERE account IN ('available', 'held')) AS credit,
                          sum(amount) FILTER (WHERE account = 'held') AS held,
                          sum(amount) FILTER (WHERE account = 'spent') AS posted
                   FROM billing_ledgerentry GROUP BY organization_id) ledger USING (organization_id)
        CROSS JOIN LATERAL (VALUES
            ('credit', coalesce(ledger.credit, 0), account.credit),
            ('held', coalesce(ledger.held, 0), account.held),
            ('posted', coalesce(ledger.posted, 0), account.posted)) AS each (name, expected, found)
    """,
    "credit is what is left of the credits": """
        SELECT organization_id, 'account:credit' AS subject,
               coalesce(sum(c.amount - c.used - c.expired), 0) AS expected,
               account.credit AS found
        FROM billing_billingaccount account LEFT JOIN billing_credit c USING (organization_id)
        GROUP BY organization_id, account.credit
    """,
    "a credit is used by the charges taken from it": """
        SELECT c.organization_id, 'credit:' || c.id AS subject, coalesce(sum(u.amount), 0) AS expected, c.used AS found
        FROM billing_credit c LEFT JOIN billing_credituse u ON u.credit_id = c.id GROUP BY c.id
    """,
    "a charge is taken from credits in full": """
        SELECT c.organization_id, 'charge:' || c.id AS subject, c.amount AS expected,
               coalesce(sum(u.amount), 0) AS found
        FROM billing_charge c LEFT JOIN billing_credituse u ON u.charge_id = c.id GROUP BY c.id
    """,
    "held is what the open holds have left": """
        SELECT organization_id, 'account:held' AS subject,
               coalesce(sum(h.amount - h.used) FILTER (WHERE h.released_at IS NULL), 0) AS expected,
               account.held AS found
        FROM billing_billingaccount account LEFT JOIN billing_hold h USING (organization_id)
        GROUP BY organization_id, account.held
    """,
    "posted is the sum of the charges": """
        SELECT organization_id, 'account:posted' AS subject, coalesce(sum(c.amount), 0) AS expected,
               account.posted AS found
        FROM billing_billingaccount account LEFT JOIN billing_charge c USING (organization_id)
        GROUP BY organization_id, account.posted
    """,
    "a hold is used by its job's charges": """
        SELECT h.organization_id, 'hold:' || h.job_code AS subject, coalesce(sum(c.amount), 0) AS expected,
               h.used AS found
        FROM billing_hold h LEFT JOIN billing_charge c USING (job_code) GROUP BY h.id
    """,
    "the ledger holds for a job what its hold has left, and nothing after its release": """
        SELECT h.organization_id, 'hold:' || h.job_code AS subject,
               CASE WHEN h.released_at IS NULL THEN h.amount - h.used ELSE 0 END AS expected,
               coalesce(ledger.held, 0) AS found
        FROM billing_hold h
        LEFT JOIN (SELECT coalesce(c.job_code, split_part(e.reference, ':', 2)) AS job_code, sum(e.amount) AS held
                   FROM billing_ledgerentry e LEFT JOIN billing_charge c ON e.reference = 'charge:' || c.id
                   WHERE e.account = 'held' GROUP BY 1) ledger USING (job_code)
    """,
    "what is posted in its period and held is within the budget": """
        SELECT b.organization_id,
               'budget:' || coalesce(p.code, 'all')
               || CASE b.period WHEN 'month' THEN '' WHEN 'year' THEN ':year' ELSE ':' || b.name END AS subject,
               least(b.monthly_limit + approved.sum, posted.sum + held.sum) AS expected,
               posted.sum + held.sum AS found
        FROM billing_budget b LEFT JOIN accounts_project p ON p.id = b.project_id
        CROSS JOIN LATERAL (
            SELECT CASE b.period WHEN 'month' THEN %(first_day)s WHEN 'year' THEN %(year_first_day)s
                                 ELSE b.first_day END AS first,
                   CASE b.period WHEN 'month' THEN %(last_day)s WHEN 'year' THEN %(year_last_day)s
                                 ELSE b.last_day END AS last) AS days
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(c.amount), 0) AS sum FROM billing_dailycharge c
            WHERE c.organization_id = b.organization_id AND coalesce(b.project_id, c.project_id) = c.project_id
              AND c.day BETWEEN days.first AND days.last) AS posted
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(h.amount - h.used), 0) AS sum FROM billing_hold h
            WHERE h.organization_id = b.organization_id AND coalesce(b.project_id, h.project_id) = h.project_id
              AND h.released_at IS NULL) AS held
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(least(w.amount, of_job.committed)), 0) AS sum
            FROM billing_allowance w JOIN billing_hold h ON h.id = w.hold_id
            CROSS JOIN LATERAL (
                SELECT greatest(0, coalesce(sum(c.amount) FILTER (WHERE c.day BETWEEN days.first AND days.last), 0))
                       + CASE WHEN h.released_at IS NULL THEN h.amount - h.used ELSE 0 END AS committed
                FROM billing_charge c WHERE c.job_code = h.job_code) AS of_job
            WHERE w.budget_id = b.id) AS approved
        WHERE b.last_day IS NULL OR b.last_day >= %(today)s
    """,
    "every usage record is charged": """
        SELECT r.organization_id, 'record:' || r.id AS subject, 1 AS expected, count(c.id) AS found
        FROM usage_usagerecord r LEFT JOIN billing_charge c ON c.record_id = r.id GROUP BY r.id
    """,
    "daily usage is the sum of its records": _rollup("usage_dailyusage", "usage_usagerecord", "gpu_seconds", _DAY),
    "daily charge is the sum of its charges": _rollup(_DAILY_CHARGE, "billing_charge", "amount", _DAY_OR_STORAGE),
    "a job's month is the sum of its charges": _rollup("billing_jobcharge", _JOB_CHARGES, "amount", _JOB),
    "a job's month is the use of its charges": _rollup("billing_jobcharge", _JOB_CHARGES, "gpu_seconds", _JOB),
    "a job's use is the sum of its charged records": _rollup(
        "billing_jobuse", _JOB_CHARGES, "seconds", {name: name for name in ("job_code", "price_id", "gpus")}
    ),
    **{
        f"a month's {what} is the sum of its charges": _rollup(_MONTHLY_CHARGE, _CHARGES, what, _MONTH_OR_STORAGE)
        for what in ("amount", "gpu_seconds")
    },
    **{
        f"a person's {what} is the sum of the charges": _rollup("billing_personcharge", _OF_PEOPLE, what, _PERSON)
        for what in ("amount", "gpu_seconds")
    },
    "what is taken back is what was recorded, once": """
        SELECT record.organization_id, 'record:' || record.id AS subject, -record.gpu_seconds AS expected,
               sum(back.gpu_seconds) AS found
        FROM usage_usagerecord back JOIN usage_usagerecord record ON record.id = back.corrects_id
        WHERE back.seconds < 0 GROUP BY record.id
    """,
    "nothing is charged in a month that is closed": """
        SELECT p.organization_id, 'charge:' || c.id AS subject, 0 AS expected, 1 AS found
        FROM billing_billingperiod p JOIN billing_charge c
            ON c.organization_id = p.organization_id AND c.contracting_member_id = p.issuer_id
            AND c.day >= p.month AND c.day < p.month + interval '1 month' AND c.created_at > p.closed_at
    """,
}
