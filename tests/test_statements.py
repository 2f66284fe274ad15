"""Every list page runs the same number of SQL statements, at most ten, session and user included: with 1, 25 or 100
rows to show, and for an owner of 30 or of 50,000 rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portal.accounts.models import Membership, Organization, Project, User
from portal.billing.budgets import set_limit
from portal.billing.models import BillingAccount, Budget, Invoice
from portal.catalog import seed
from portal.catalog.models import Offering
from portal.datasets.models import DataFile, Dataset
from portal.jobs.models import Job, Sweep
from portal.usage.models import Difference
from tests.factories import (
    BudgetFactory,
    DataFileFactory,
    DatasetFactory,
    DifferenceFactory,
    InvoiceFactory,
    JobFactory,
    MembershipFactory,
    PriceFactory,
    ProjectFactory,
    ProviderAccountFactory,
    RegistryLoginFactory,
    SpendRequestFactory,
    StaffFactory,
    SweepFactory,
)

MOST = 10


def _copy(table: str, model_pk: int, times: int, **changed: str) -> None:
    """Many rows like that one, by one INSERT. `changed`: column -> SQL expression over n, the number of the copy."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_identity = 'NO'", [table]
        )
        columns = [name for (name,) in cursor.fetchall()]
        values = [changed.get(name, f"t.{name}") for name in columns]
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)}"
            f" FROM {table} t, generate_series(1, %s) AS n WHERE t.id = %s",
            [times, model_pk],
        )


def _analyze() -> None:
    """Without it the checks of foreign keys at the test's end scan whole tables, planned when those were empty."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _jobs(project: Project, owner: User, count: int) -> None:
    job = Job.objects.filter(project=project).first() or JobFactory(project=project, submitted_by=owner)
    missing = count - Job.objects.filter(project=project).count()
    _copy("jobs_job", job.pk, missing, code=f"'J-20261101-' || lpad((n + {count})::text, 8, '0')")


def _datasets(project: Project, owner: User, count: int) -> None:
    first = Dataset.objects.filter(project=project).first()
    if first is None:
        first = DataFileFactory(dataset=DatasetFactory(project=project, created_by=owner)).dataset
    missing = count - Dataset.objects.filter(project=project).count()
    _copy(
        "datasets_dataset", first.pk, missing,
        code=f"'d-' || lpad((n + {count})::text, 10, '0')", folder=f"'folder-' || (n + {count})",
        name=f"'data ' || (n + {count})",
    )  # fmt: skip
    file = DataFile.objects.get(dataset=first)
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM datasets_dataset")
        newest = cursor.fetchone()[0]
    if missing:
        _copy(
            "datasets_datafile", file.pk, missing, dataset_id=f"{newest} - n + 1",
            code=f"'f-' || lpad((n + {count})::text, 12, '0')", storage_key=f"'t/test/copy-' || (n + {count})",
        )  # fmt: skip


def _members(project: Project, owner: User, count: int) -> None:
    missing = count - Membership.objects.filter(organization=project.organization).count()
    User.objects.bulk_create(
        User(email=f"person{count}-{n}@example.jp", family_name="伊藤", given_name="蓮") for n in range(missing)
    )
    people = User.objects.filter(email__startswith=f"person{count}-")
    Membership.objects.bulk_create(
        Membership(user=person, organization=project.organization, role="member") for person in people
    )


def _projects(project: Project, owner: User, count: int) -> None:
    missing = count - Project.objects.filter(organization=project.organization).count()
    for n in range(missing):
        ProjectFactory(organization=project.organization, name=f"project {count}-{n}")


def _usage(project: Project, owner: User, count: int) -> None:
    """Rows of the daily sums: over the last days, for as many projects as that takes."""
    seed.load(demo=True)
    with connection.cursor() as cursor:
        for table, column in (("usage_dailyusage", "gpu_seconds"), ("billing_dailycharge", "amount")):
            extra = ", metered_until" if table == "usage_dailyusage" else ""
            cursor.execute(f"DELETE FROM {table}")
            cursor.execute(
                f"INSERT INTO {table} (organization_id, project_id, provider_id, offering_id, day, {column}{extra})"
                " SELECT %s, %s, o.provider_id, o.id, current_date - (n / 15)::int, 100"
                f"{', now()' if extra else ''} FROM generate_series(0, %s) AS n"
                " JOIN (SELECT id, provider_id, row_number() OVER () - 1 AS place FROM catalog_offering) o"
                " ON o.place = n %% 15",
                [project.organization_id, project.pk, count - 1],
            )


def _years(project: Project, owner: User, count: int) -> None:
    """Rows of the monthly sums, each month of 15 offerings."""
    seed.load(demo=True)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM billing_monthlycharge")
        cursor.execute(
            "INSERT INTO billing_monthlycharge"
            " (organization_id, project_id, provider_id, offering_id, month, amount, gpu_seconds)"
            " SELECT %s, %s, o.provider_id, o.id,"
            " (date_trunc('month', current_date) - (n / 15)::int * interval '1 month')::date, 100, 7"
            " FROM generate_series(0, %s) AS n"
            " JOIN (SELECT id, provider_id, row_number() OVER () - 1 AS place FROM catalog_offering) o"
            " ON o.place = n %% 15",
            [project.organization_id, project.pk, count - 1],
        )


def _charged_jobs(project: Project, owner: User, count: int) -> None:
    offering = Offering.objects.first() or PriceFactory().offering
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM billing_jobcharge")
        cursor.execute(
            "INSERT INTO billing_jobcharge"
            " (organization_id, project_id, offering_id, user_id, job_code, month, amount, gpu_seconds)"
            " SELECT %s, %s, %s, %s, 'J-' || n, date_trunc('month', now() AT TIME ZONE 'Asia/Tokyo'), n, n"
            " FROM generate_series(1, %s) AS n",
            [project.organization_id, project.pk, offering.pk, owner.pk, count],
        )


def _charged_people(project: Project, owner: User, count: int) -> None:
    _members(project, owner, count)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM billing_personcharge")
        cursor.execute(
            "INSERT INTO billing_personcharge (organization_id, project_id, user_id, month, amount, gpu_seconds)"
            " SELECT %s, %s, id, date_trunc('month', now() AT TIME ZONE 'Asia/Tokyo'), id, 7"
            " FROM accounts_user ORDER BY id LIMIT %s",
            [project.organization_id, project.pk, count],
        )


def _registries(project: Project, owner: User, count: int) -> None:
    kept = project.organization.registry_logins
    first = kept.first() or RegistryLoginFactory(organization=project.organization, changed_by=owner)
    _copy("accounts_registrylogin", first.pk, count - kept.count(), hostname=f"'r' || (n + {count}) || '.example'")


def _invoices(project: Project, owner: User, count: int) -> None:
    """One more a month: the same month is not invoiced twice. The numbers are beyond those that the factory counts."""
    kept = Invoice.objects.filter(organization=project.organization)
    first = kept.first() or InvoiceFactory(organization=project.organization)
    _copy(
        "billing_invoice", first.pk, count - kept.count(), number=f"'COPY-' || (n + {count})",
        sequence=f"n + {1_000_000 + count}", month=f"date '1900-01-01' + n + {count}",
    )  # fmt: skip


def _budgets(project: Project, owner: User, count: int) -> None:
    """Of one project each, and a request and a history to show."""
    if not Budget.objects.exists():
        set_limit(project.organization, project=project, monthly_limit=100, by=owner)
        SpendRequestFactory(project=project, asked_by=owner)
    kept = Budget.objects.filter(organization=project.organization)
    for _missing in range(count - kept.count()):
        other = ProjectFactory(organization=project.organization)
        BudgetFactory(organization=project.organization, project=other, updated_by=owner)


def _sweeps(project: Project, owner: User, count: int) -> None:
    sweep = Sweep.objects.filter(project=project).first() or SweepFactory(project=project, submitted_by=owner)
    missing = count - Sweep.objects.filter(project=project).count()
    _copy("jobs_sweep", sweep.pk, missing, code=f"'W-20261101-' || lpad((n + {count})::text, 8, '0')")


LISTS: dict[str, tuple[str, Callable[[Project, User, int], None], int]] = {
    "jobs": ("/jobs/", _jobs, 50_000),
    "sweeps": ("/jobs/sweeps/", _sweeps, 50_000),
    "datasets": ("/datasets/", _datasets, 50_000),
    "members": ("/organization/members/", _members, 50_000),
    "projects": ("/organization/projects/", _projects, 300),
    "registries": ("/organization/registries/", _registries, 300),
    "usage": ("/usage/", _usage, 50_000),
    "invoices": ("/usage/invoices/", _invoices, 50_000),
    "years": ("/usage/?month=2026fy", _years, 50_000),
    "jobs by cost": ("/usage/jobs/", _charged_jobs, 50_000),
    "people by cost": ("/usage/people/", _charged_people, 5_000),
    "budgets": ("/usage/budgets/", _budgets, 300),
    "home": ("/", _jobs, 50_000),
}


def test_statements_of_the_desks_catalog_do_not_grow_with_rows(db: None, desk_of: Callable[..., Client]) -> None:
    client = desk_of(StaffFactory())
    counts = {}
    for rows in (1, 25, 100):
        for _missing in range(rows - Offering.objects.count()):
            PriceFactory()
        with CaptureQueriesContext(connection) as asked:
            assert client.get("/desk/catalog/").status_code == 200
        counts[rows] = len(asked)
    assert len(set(counts.values())) == 1 and max(counts.values()) <= MOST, counts


def test_statements_of_the_desks_differences_do_not_grow_with_rows(db: None, desk_of: Callable[..., Client]) -> None:
    client, account = desk_of(StaffFactory()), ProviderAccountFactory()
    counts = {}
    for rows in (1, 25, 100):
        DifferenceFactory.create_batch(rows - Difference.objects.count(), account=account)
        with CaptureQueriesContext(connection) as asked:
            assert client.get("/desk/usage/").status_code == 200
        counts[rows] = len(asked)
    assert len(set(counts.values())) == 1 and max(counts.values()) <= MOST, counts


@pytest.mark.parametrize("listing", LISTS)
def test_statements_do_not_grow_with_rows(
    listing: str, organization: Organization, project: Project, client_of: Callable[..., Client]
) -> None:
    url, fill, most = LISTS[listing]
    owner = MembershipFactory(organization=organization, role="owner").user
    BillingAccount.objects.get_or_create(organization=organization)
    client = client_of(owner)
    client.get(url)  # whatever is made at the first visit
    counts = {}
    for rows in (1, 25, 100, most):
        fill(project, owner, rows)
        _analyze()
        with CaptureQueriesContext(connection) as asked:
            assert client.get(url).status_code == 200
        counts[rows] = len(asked)
    assert len(set(counts.values())) == 1 and max(counts.values()) <= MOST, counts
