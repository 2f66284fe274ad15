"""What was used and what it cost in a month, from the daily sums. Every page and file takes its figures here.

The sums are small (a row per day, project and offering), so none of this grows with the number of jobs or records.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from functools import cached_property
from typing import Any

from django.db import connection, transaction
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from portal.accounts.models import Organization, User
from portal.catalog.models import Provider
from portal.core.periods import BillingMonth

DAYS_BEFORE = 7  # of the month before that `by_day` reaches back: a week to forecast from


@dataclass(frozen=True)
class Cell:
    """One project on one offering, over the month. Whole yen with tax, whole GPU-seconds."""

    provider: Provider
    project_code: str
    project_name: str
    gpu_model: str
    amount: int
    before: int  # in the same days of the month before
    gpu_seconds: int


@dataclass(frozen=True)
class Use:
    cells: list[Cell] = field(default_factory=list)
    by_day: dict[date, dict[str, int]] = field(default_factory=dict)  # yen by provider slug; absent days cost nothing
    metered_until: dict[str, datetime] = field(default_factory=dict)  # by provider slug: newest end of a record
    # By provider slug, where jobs are under way now: the instant up to which each of them is metered. Our own tracker
    # tells nothing earlier any more.
    complete_until: dict[str, datetime] = field(default_factory=dict)

    @cached_property
    def providers(self) -> list[Provider]:
        """Those with usage, in the fixed order of legends."""
        known = {cell.provider.pk: cell.provider for cell in self.cells}
        return sorted(known.values(), key=lambda p: (p.position, p.slug))

    @cached_property
    def amount(self) -> int:
        return sum(cell.amount for cell in self.cells)

    @cached_property
    def before(self) -> int:
        return sum(cell.before for cell in self.cells)

    @cached_property
    def gpu_seconds(self) -> int:
        return sum(cell.gpu_seconds for cell in self.cells)

    @property
    def per_gpu_hour(self) -> int | None:
        """Average yen, cut to whole yen."""
        if not self.gpu_seconds:
            return None
        return int((Decimal(self.amount) * 3600 / self.gpu_seconds).quantize(Decimal(1), ROUND_DOWN))


@dataclass(frozen=True)
class MonthOfUse(Use):
    month: BillingMonth = field(kw_only=True)


def month_of_use(
    organization: Organization, month: BillingMonth, *, until: date, projects: Collection[int] | None = None
) -> MonthOfUse:
    """One query. `until`: the last day that is compared with the month before. `projects`: None is all of them."""
    same_days_before = month.previous.first_day + timedelta(days=until.day - 1)
    if until == month.last_day:
        same_days_before = month.previous.last_day
    cells: list[Cell] = []
    by_day: dict[date, dict[str, int]] = {}
    metered_until: dict[str, datetime] = {}
    complete_until: dict[str, datetime] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            _MONTH.format(sums=_sums(projects), of_projects="" if projects is None else _OF_PROJECTS),
            {
                "organization": organization.pk,
                "projects": list(projects or ()),
                "from": month.previous.first_day,
                "first": month.first_day,
                "last": month.last_day,
                "before": min(same_days_before, month.previous.last_day),
                "chart": month.first_day - timedelta(days=DAYS_BEFORE),
            },
        )
        providers: dict[int, Provider] = {}
        for (
            *of_provider,
            day,
            code,
            name,
            gpu,
            amount,
            whole,
            before,
            gpu_seconds,
            newest,
            until_then,
        ) in cursor.fetchall():
            provider = provider_of(of_provider, providers)
            if until_then is not None:
                complete_until[provider.slug] = until_then
            if day is not None:
                by_day.setdefault(day, {})[provider.slug] = int(whole)
            elif amount or before or gpu_seconds:
                # Without an offering it is storage, which has no GPU.
                cells.append(
                    Cell(
                        provider,
                        code,
                        name,
                        _("Storage") if gpu is None else gpu,
                        int(amount),
                        int(before),
                        int(gpu_seconds),
                    )
                )
                if newest is not None:
                    metered_until[provider.slug] = max(newest, metered_until.get(provider.slug, newest))
    return MonthOfUse(cells, by_day, metered_until, complete_until, month=month)


@dataclass(frozen=True)
class JobCost:
    """What a job cost in a month. What it is called, whose it is and how it stands only where the reader may see it."""

    code: str
    project_name: str
    provider: Provider
    gpu_model: str
    amount: int
    gpu_seconds: int
    name: str = ""
    person: str = ""
    state: Any = None


BEFORE_ALL = (2**62, "")  # what `after` is before every job

# How a job's state reads and looks, for {% state_badge %}. Set by the jobs app, which stands above this one.
state_of_job: Callable[[str], Any] = str


def dearest_jobs(
    organization: Organization,
    month: BillingMonth,
    *,
    limit: int = 5,
    projects: Collection[int] | None = None,
    described: Collection[int] | None = None,
    person: int | None = None,
    after: tuple[int, str] | None = None,
) -> list[JobCost]:
    """By what they cost in this month. One query that reads `limit` rows of an index in order. `described`: the
    projects whose jobs are told apart from their codes; None is all. `person`: whose jobs. `after`: amount and code of
    the last job before these; with it jobs that cost nothing or less (corrections) are told too."""
    asked = _asked(organization, month, limit, projects, described, person, after)
    with connection.cursor() as cursor:
        cursor.execute(*asked)
        return list(_job_costs(cursor.fetchall(), {}))


def every_job(
    organization: Organization,
    month: BillingMonth,
    *,
    projects: Collection[int] | None = None,
    described: Collection[int] | None = None,
    person: int | None = None,
) -> Iterator[JobCost]:
    """As `dearest_jobs`, to the last one, read in pieces while it is sent."""
    providers: dict[int, Provider] = {}
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(*_asked(organization, month, None, projects, described, person, BEFORE_ALL))
        while rows := cursor.fetchmany(2000):
            yield from _job_costs(rows, providers)


def _asked(
    organization: Organization,
    month: BillingMonth,
    limit: int | None,
    projects: Collection[int] | None,
    described: Collection[int] | None,
    person: int | None,
    after: tuple[int, str] | None,
) -> tuple[str, dict[str, Any]]:
    """The statement and its values."""
    where = "" if projects is None else "AND charge.project_id = ANY(%(projects)s)"
    if person is not None:
        where += " AND charge.user_id = %(person)s AND (%(all_described)s OR charge.project_id = ANY(%(described)s))"
    if after is None:
        where += " AND amount > 0"
    else:
        where += " AND (amount < %(amount)s OR amount = %(amount)s AND job_code > %(code)s)"
    return _DEAREST.format(where=where), {
        "organization": organization.pk,
        "month": month.first_day,
        "limit": limit,
        "projects": list(projects or ()),
        "all_described": described is None,
        "described": list(described or ()),
        "person": person,
        "amount": after[0] if after else None,
        "code": after[1] if after else None,
    }


def _job_costs(rows: Iterable[tuple[Any, ...]], providers: dict[int, Provider]) -> Iterator[JobCost]:
    for *of_provider, code, project, gpu, amount, seconds, name, state, family_name, given_name, email in rows:
        job = JobCost(code, project, provider_of(of_provider, providers), gpu, amount, seconds)
        if name is not None:
            whose = str(User(family_name=family_name, given_name=given_name, email=email))
            job = replace(job, name=name, person=whose, state=state_of_job(state))
        yield job


def provider_of(values: list[Any], known: dict[int, Provider]) -> Provider:
    """The columns of _PROVIDER as an object, made once for all rows that name it."""
    if values[0] not in known:
        known[values[0]] = Provider(**dict(zip(_PROVIDER, values, strict=True)))
    return known[values[0]]


def provider_columns() -> str:
    """What `provider_of` takes, in its order, of a table that is called `provider`."""
    return _PROVIDER_COLUMNS


def daily_rows(
    organization: Organization, month: BillingMonth, *, projects: Collection[int] | None = None
) -> Iterator[tuple[Any, ...]]:
    """(day, provider, project, project code, offering, GPU, GPU-seconds, yen), read in pieces while it is sent."""
    language = "en" if (get_language() or "ja").startswith("en") else "ja"
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(
            _DAILY.format(sums=_sums(projects), language=language),
            {
                "organization": organization.pk,
                "projects": list(projects or ()),
                "from": month.first_day,
                "last": month.last_day,
                "storage": _("Storage"),
            },
        )
        while rows := cursor.fetchmany(2000):
            yield from rows


def _sums(projects: Collection[int] | None) -> str:
    """Money and use of the days asked for, side by side. Both tables have their unique key in this order of columns."""
    where = "organization_id = %(organization)s AND day BETWEEN %(from)s AND %(last)s"
    if projects is not None:
        where += " AND project_id = ANY(%(projects)s)"
    place = "day, project_id, provider_id, offering_id"
    return f"""
        SELECT {place}, amount, 0 AS gpu_seconds, NULL::timestamptz AS metered_until
        FROM billing_dailycharge WHERE {where}
        UNION ALL
        SELECT {place}, 0, gpu_seconds, metered_until FROM usage_dailyusage WHERE {where}
    """  # noqa: S608 - constants of this function


_PROVIDER = ("id", "slug", "name_ja", "name_en", "short_ja", "short_en", "position")
_PROVIDER_COLUMNS = ", ".join(f"provider.{column}" for column in _PROVIDER)
_OF_PROJECTS = "AND job.project_id = ANY(%(projects)s)"
# A job that the provider has may have begun since it was last asked about it. (The jobs' own table stands above this
# app: it is named here only, so that all comes in the same trip.)
# Two summaries in one pass: by provider and day for the chart, by provider, project and offering for the tables.
_MONTH = f"""
    SELECT {_PROVIDER_COLUMNS}, day, project.code, project.name, offering.gpu_model,
        amount, whole, before, gpu_seconds, newest, complete.until
    FROM (
        SELECT provider_id, day, project_id, offering_id,
            coalesce(sum(amount) FILTER (WHERE day >= %(first)s), 0) AS amount,
            coalesce(sum(amount) FILTER (WHERE day >= %(chart)s), 0) AS whole,
            coalesce(sum(amount) FILTER (WHERE day <= %(before)s), 0) AS before,
            coalesce(sum(gpu_seconds) FILTER (WHERE day >= %(first)s), 0) AS gpu_seconds,
            max(metered_until) FILTER (WHERE day >= %(first)s) AS newest
        FROM ({{sums}}) AS daily
        GROUP BY GROUPING SETS ((provider_id, day), (provider_id, project_id, offering_id))
    ) AS sums
    JOIN catalog_provider provider ON provider.id = sums.provider_id
    LEFT JOIN accounts_project project ON project.id = sums.project_id
    LEFT JOIN catalog_offering offering ON offering.id = sums.offering_id
    LEFT JOIN (
        SELECT offering.provider_id, min(coalesce(
            attempt.metered_until, attempt.started_at, attempt.seen_at, attempt.accepted_at)) AS until
        FROM jobs_attempt attempt JOIN jobs_job job ON job.id = attempt.job_id
        JOIN catalog_offering offering ON offering.id = attempt.offering_id
        WHERE job.organization_id = %(organization)s AND attempt.collected_at IS NULL AND attempt.remote_id <> ''
            {{of_projects}}
        GROUP BY offering.provider_id
    ) AS complete ON complete.provider_id = sums.provider_id
    ORDER BY provider.position, provider.slug, day, project.name, offering.slug
"""  # noqa: S608 - constants of this file
# The jobs' words, in the same trip too.
_DEAREST = f"""
    SELECT {_PROVIDER_COLUMNS}, charge.job_code, project.name, offering.gpu_model, charge.amount, charge.gpu_seconds,
        job.name, job.state, person.family_name, person.given_name, person.email
    FROM (
        SELECT * FROM billing_jobcharge charge
        WHERE organization_id = %(organization)s AND month = %(month)s {{where}}
        ORDER BY amount DESC, job_code LIMIT %(limit)s
    ) AS charge
    JOIN accounts_project project ON project.id = charge.project_id
    JOIN catalog_offering offering ON offering.id = charge.offering_id
    JOIN catalog_provider provider ON provider.id = offering.provider_id
    LEFT JOIN jobs_job job ON job.code = charge.job_code
        AND (%(all_described)s OR job.project_id = ANY(%(described)s))
    LEFT JOIN accounts_user person ON person.id = job.submitted_by_id
    ORDER BY charge.amount DESC, charge.job_code
"""  # noqa: S608 - constants of this file
_DAILY = """
    SELECT sums.day, provider.name_{language}, project.name, project.code,
        coalesce(offering.name_{language}, %(storage)s), coalesce(offering.gpu_model, ''),
        sum(gpu_seconds)::bigint, sum(amount)::bigint
    FROM ({sums}) AS sums
    LEFT JOIN catalog_offering offering ON offering.id = sums.offering_id
    JOIN catalog_provider provider ON provider.id = sums.provider_id
    JOIN accounts_project project ON project.id = sums.project_id
    GROUP BY sums.day, provider.id, project.id, offering.id
    ORDER BY sums.day, provider.position, provider.slug, project.name, offering.slug
"""
