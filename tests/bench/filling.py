"""Many organizations with many jobs, written by SQL: 200 organizations share the rows, the first owns half of them.

`fill(total)` needs a migrated, otherwise empty database with the catalog seeded. The member of the 2nd organization
has 30 jobs in 3 projects; everybody's jobs are of all states, times and providers.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection, transaction
from django.utils import timezone

from portal.accounts.models import Membership, Organization, Project, User
from portal.accounts.roles import Role
from portal.billing.models import BillingAccount
from portal.catalog.models import Offering, Price

ORGANIZATIONS = 200
MEMBER_JOBS = 30


@dataclass(frozen=True)
class People:
    big_owner: User  # of the organization that owns half of all jobs
    member: User  # sees 30 jobs in 3 projects


def fill(total: int) -> People:
    """Leaves `total` jobs, with attempts, events, a usage record, a charge and rollups for each."""
    with transaction.atomic():
        organizations = [
            Organization.objects.create(name=f"組織 {n:03d}", kind="company") for n in range(ORGANIZATIONS)
        ]
        projects = {
            o.pk: [Project.objects.create(organization=o, name=f"project-{n}").pk for n in range(3)]
            for o in organizations
        }
        for organization in organizations:
            BillingAccount.objects.get_or_create(organization=organization, defaults={"credit": 1_000_000})
        people = People(
            big_owner=_person("big@bench.example", organizations[0], Role.OWNER),
            member=_person("member@bench.example", organizations[1], Role.MEMBER),
        )
        offerings = list(Offering.objects.filter(slug__in=["dok-h100", "soroban-cluster", "demo-gb200"]))
        prices = {
            p.offering_id: p.pk for p in Price.objects.filter(offering__in=offerings, unit__in=["second", "minute"])
        }
        rest = [o.pk for o in organizations[2:]]
        member_jobs = min(MEMBER_JOBS, total // 3)
        plan = [(organizations[0].pk, total // 2), (organizations[1].pk, member_jobs)]
        others = total - total // 2 - member_jobs
        plan += [(pk, others // len(rest) + (n < others % len(rest))) for n, pk in enumerate(rest)]
        rows = [(pk, projects[pk][n % 3]) for pk, count in plan for n in range(count)]
        _write(rows, people, [(o.pk, prices[o.pk]) for o in offerings])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return people


def _person(email: str, organization: Organization, role: Role) -> User:
    user = User.objects.create_user(email, family_name="山田", given_name="花子")
    Membership.objects.create(user=user, organization=organization, role=role)
    return user


def _write(rows: list[tuple[int, int]], people: People, offers: list[tuple[int, int]]) -> None:
    """Jobs interleaved over time, as they are in life, so that no organization's rows lie together on disk."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE plan (place serial, organization bigint, project bigint, shuffled float)")
        with cursor.copy("COPY plan (organization, project) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute("UPDATE plan SET shuffled = random()")
        columns = columns_of("jobs_job")
        own = {
            "code": "'J-20261101-' || lpad(n::text, 8, '0')",
            "organization_id": "organization",
            "project_id": "project",
            "submitted_by_id": f"CASE WHEN organization = {people.member.memberships.get().organization_id} "
            f"THEN {people.member.pk} ELSE {people.big_owner.pk} END",
            "name": "'学習ジョブ ' || n",
            "command": "'python3 main.py'",
            "offering_id": "(ARRAY[%s])[1 + n %% %d]" % (",".join(str(o) for o, _ in offers), len(offers)),  # noqa: UP031
            "price_id": "(ARRAY[%s])[1 + n %% %d]" % (",".join(str(p) for _, p in offers), len(offers)),  # noqa: UP031
            "gpus": "1",
            "time_limit_s": "3600",
            "cost_cap": "1008",
            # One in fifty still moves.
            "state": "CASE WHEN n % 50 = 0 THEN 'running' ELSE "
            "(ARRAY['succeeded','succeeded','failed','cancelled','expired'])[1 + n % 5] END",
            "submitted_at": "now() - (plan_count - n) * interval '5 minutes'",
            "state_since": "now() - (plan_count - n) * interval '5 minutes'",
            "started_at": "now() - (plan_count - n) * interval '5 minutes'",
            "ended_at": "CASE WHEN n % 50 = 0 THEN NULL ELSE now() - (plan_count - n) * interval '5 minutes' END",
            "gpu_seconds": "600",
            "cost": "168",
            "log_lines": "1000",
        }
        cursor.execute(
            insert("jobs_job", columns, own)
            + " FROM (SELECT *, row_number() OVER (ORDER BY shuffled) AS n, count(*) OVER () AS plan_count"
            " FROM plan) AS p"
            " ORDER BY n"
        )
        now = timezone.now().isoformat()
        cursor.execute(
            insert(
                "jobs_jobevent",
                columns_of("jobs_jobevent"),
                {"job_id": "j.id", "at": "j.submitted_at", "kind": "'state'", "before": "s.before", "after": "s.after",
                 "by": "'portal:bench'"},
            )
            + " FROM jobs_job j, (VALUES ('', 'submitted'), ('submitted', 'queued'), ('queued', 'running'),"
            " ('running', 'finishing')) AS s(before, after)"
        )  # fmt: skip
        cursor.execute(
            "INSERT INTO usage_dailyusage"
            " (organization_id, project_id, provider_id, offering_id, day, gpu_seconds, metered_until)"
            " SELECT j.organization_id, j.project_id, o.provider_id, j.offering_id,"
            " (j.submitted_at AT TIME ZONE 'Asia/Tokyo')::date, sum(j.gpu_seconds), max(j.submitted_at)"
            " FROM jobs_job j JOIN catalog_offering o ON o.id = j.offering_id GROUP BY 1, 2, 3, 4, 5"
        )
        cursor.execute(
            "INSERT INTO billing_dailycharge (organization_id, project_id, provider_id, offering_id, day, amount)"
            " SELECT j.organization_id, j.project_id, o.provider_id, j.offering_id,"
            " (j.submitted_at AT TIME ZONE 'Asia/Tokyo')::date, sum(j.cost)"
            " FROM jobs_job j JOIN catalog_offering o ON o.id = j.offering_id GROUP BY 1, 2, 3, 4, 5"
        )
        usage = {
            "organization_id": "j.organization_id", "project_id": "j.project_id", "user_id": "j.submitted_by_id",
            "provider_id": "o.provider_id", "offering_id": "j.offering_id", "price_id": "j.price_id",
            "job_code": "j.code", "attempt_code": "lower(substr(j.code, 12))", "gpus": "1", "seconds": "600",
            "gpu_seconds": "600", "started_at": "j.submitted_at", "ended_at": "j.submitted_at + interval '600 s'",
            "day": "(j.submitted_at AT TIME ZONE 'Asia/Tokyo')::date", "source": "'tracker'", "created_at": f"'{now}'",
        }  # fmt: skip
        cursor.execute(
            insert("usage_usagerecord", columns_of("usage_usagerecord"), usage)
            + " FROM jobs_job j JOIN catalog_offering o ON o.id = j.offering_id"
        )
        charge = {
            "record_id": "r.id", "organization_id": "r.organization_id", "project_id": "r.project_id",
            "provider_id": "r.provider_id", "offering_id": "r.offering_id", "price_id": "r.price_id",
            "job_code": "r.job_code", "day": "r.day", "amount": "168", "exact": "168", "tax_percent": "10",
            "contracting_member_id": "r.provider_id", "service_member_id": "r.provider_id",
            "host_member_id": "r.provider_id", "created_at": "r.created_at",
        }  # fmt: skip
        cursor.execute(insert("billing_charge", columns_of("billing_charge"), charge) + " FROM usage_usagerecord r")
        cursor.execute(
            "INSERT INTO billing_jobcharge"
            " (organization_id, project_id, offering_id, job_code, month, amount, gpu_seconds)"
            " SELECT organization_id, project_id, offering_id, job_code, date_trunc('month', day), 168, 600"
            " FROM billing_charge"
        )


def columns_of(table: str) -> dict[str, str]:
    """Column names that must be given, each with a neutral value of its type: no id, none that may be null or has a
    default."""
    neutral = {"jsonb": "'{}'", "text": "''", "character varying": "''", "boolean": "false", "bytea": "''"}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s"
            " AND is_nullable = 'NO' AND is_identity = 'NO' AND column_default IS NULL",
            [table],
        )
        return {name: neutral.get(kind, "now()" if "timestamp" in kind else "0") for name, kind in cursor.fetchall()}


def insert(table: str, columns: dict[str, str], own: dict[str, str]) -> str:
    values = {**columns, **own}
    return f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())}"
