"""What the usage page of an organization costs, for a month and for a fiscal year, with 1 and with 10 million records.

    .venv/bin/python -m tests.bench.usage_at_scale [--records 10000000] [--seconds 10]

Starts its own PostgreSQL, Valkey and S3 in a temporary folder, which 10 million records and their charges fill with
about 12 GB, fills one database with a tenth of the records and one with all, serves the portal and the lean page on
both, and asks all in turn, half a second each. The records are of 200 organizations, half of them of the first; 20
months, so that the daily sums are as many in both. Prints ratios and removes the folder; nothing is asserted.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
from pathlib import Path

from tests.bench.measuring import Sample
from tests.bench.pages import SLICE_S, Site, joined

GOALS = "goals: p50 at all records <= 1.2 x at a tenth, <= 3 x lean; as many statements at both, <= 10"
PAGES = ("lean", "/usage/?month=2026-10", "/usage/?month=2026fy")
PERSONS = ("member", "big")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    from portal.launcher.services import start_postgres, start_s3, start_valkey

    folder = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    services = [start_postgres(folder / "pg", durable=False), start_valkey(folder / "valkey"), start_s3(folder / "s3")]
    sites: list[Site] = []
    try:
        sites += [Site(folder, services, rows, fill=_FILL) for rows in (options.records // 10, options.records)]
        _measure(sites, slices=round(options.seconds / SLICE_S))
        print(GOALS)
    finally:
        for site in sites:
            site.stop()
        for service in reversed(services):
            service.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _measure(sites: list[Site], *, slices: int) -> None:
    taken: dict[tuple[str, str, int], list[Sample]] = {}
    for page, person, site in itertools.product(PAGES, PERSONS, sites):  # warm
        site.ask(page, person, clients=4, seconds=1)
    for _slice, page, person, site in itertools.product(range(slices), PAGES, PERSONS, sites):
        sample, _cpu = site.ask(page, person, clients=1, seconds=SLICE_S)
        taken.setdefault((page, person, site.rows), []).append(sample)
    p50 = {key: joined(samples).p50 for key, samples in taken.items()}
    few, many = (site.rows for site in sites)
    print(f"\n{'page':24}{'person':8}{f'p50 at {few:,}':>18}{f'at {many:,}':>16}{'ratio':>7}{'x lean':>8}  statements")
    for person, page in itertools.product(PERSONS, PAGES):
        at_few, at_many = p50[page, person, few], p50[page, person, many]
        key = f"{person}:{page}"
        statements = " and ".join(site.known.get(key.replace("=", "~"), "3") for site in sites)
        print(f"{page:24}{person:8}{at_few:15.1f} ms{at_many:13.1f} ms{at_many / at_few:7.2f}"
              f"{at_many / p50['lean', person, many]:8.1f}  {statements}")  # fmt: skip


def fill(records: int) -> None:
    """Writes what the site asks for; prints sessions and how many statements each page takes."""
    from importlib import import_module

    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from tests.bench import filling

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    call_command("seed_catalog")
    people = filling.fill(10_000)
    _write(records)
    store = import_module(settings.SESSION_ENGINE).SessionStore
    for name, user in (("big", people.big_owner), ("member", people.member)):
        client = Client(headers={"host": "localhost"})
        client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[0])
        session = store(client.session.session_key)
        print(f"{name}={session.session_key}")
        for page in PAGES[1:]:
            client.get(page)  # what a process does once
            with CaptureQueriesContext(connection) as queries:
                assert client.get(page).status_code == 200, page
            print(f"{name}:{page.replace('=', '~')}={len(queries)}")


MILLION = 1_000_000


def _write(records: int) -> None:
    from django.db import connection, transaction

    from portal.catalog.models import Offering, Price
    from tests.bench.filling import columns_of, insert

    offerings = list(Offering.objects.filter(slug__in=["dok-h100", "soroban-cluster", "demo-gb200"]))
    prices = {p.offering_id: p.pk for p in Price.objects.filter(offering__in=offerings, unit__in=["second", "minute"])}
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_organization SET created_at = '2025-04-01'")
        # Triggers and checks of keys would double what it takes to fill; what they keep is written here by itself.
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "CREATE TEMP TABLE place AS SELECT row_number() OVER (ORDER BY p.id) - 1 AS n, p.id AS project_id,"
            " p.organization_id, (SELECT min(submitted_by_id) FROM jobs_job j"
            " WHERE j.organization_id = p.organization_id) AS user_id FROM accounts_project p"
        )
        cursor.execute("CREATE TEMP TABLE sold (n int, offering_id bigint, price_id bigint, provider_id bigint)")
        cursor.executemany(
            "INSERT INTO sold VALUES (%s, %s, %s, %s)",
            [(n, o.pk, prices[o.pk], o.provider_id) for n, o in enumerate(offerings)],
        )
    # 50 records a job, a quarter of an hour each, in 600 days; every other job is of the first organization.
    record = {
        "organization_id": "organization_id", "project_id": "project_id", "user_id": "user_id",
        "provider_id": "provider_id", "offering_id": "offering_id", "price_id": "price_id",
        "job_code": "'U-' || job", "attempt_code": "'u' || job", "gpus": "1", "seconds": "900", "gpu_seconds": "900",
        "started_at": "at", "ended_at": "at + interval '900 s'", "day": "(at AT TIME ZONE 'Asia/Tokyo')::date",
        "source": "'tracker'", "created_at": "now()", "revision": "1",
    }  # fmt: skip
    charge = {
        "record_id": "r.id", "organization_id": "r.organization_id", "project_id": "r.project_id",
        "provider_id": "r.provider_id", "offering_id": "r.offering_id", "price_id": "r.price_id",
        "job_code": "r.job_code", "day": "r.day", "amount": "252", "exact": "252", "tax_percent": "10",
        "contracting_member_id": "r.provider_id", "service_member_id": "r.provider_id",
        "host_member_id": "r.provider_id", "created_at": "r.created_at", "kind": "'usage'",
    }  # fmt: skip
    for begun in range(0, records, MILLION):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT coalesce(max(id), 0) FROM usage_usagerecord")
            [(newest,)] = cursor.fetchall()
            cursor.execute(
                insert("usage_usagerecord", columns_of("usage_usagerecord"), record)
                + " FROM (SELECT n / 50 AS job, timestamptz '2025-04-02' + n / 50 * 7919 %% 600 * interval '1 day'"
                " + n %% 50 * interval '900 s' AS at FROM generate_series(%s, %s) AS n) AS made"
                " JOIN place ON place.n = CASE WHEN job %% 2 = 0 THEN job / 2 %% 3"
                " ELSE 3 + job / 2 %% (SELECT count(*) - 3 FROM place) END"
                " JOIN sold ON sold.n = job / 7 %% (SELECT count(*) FROM sold)",
                [begun, min(begun + MILLION, records) - 1],
            )
            cursor.execute(
                insert("billing_charge", columns_of("billing_charge"), charge)
                + " FROM usage_usagerecord r WHERE r.id > %s",
                [newest],
            )
    with connection.cursor() as cursor:
        for statement in _SUMS:
            cursor.execute(statement)
        cursor.execute("SET session_replication_role = DEFAULT")
        cursor.execute("VACUUM ANALYZE")


_MONTH = "date_trunc('month', r.day)::date"
_SUMS = (
    "DELETE FROM usage_dailyusage",
    "DELETE FROM billing_dailycharge",
    "DELETE FROM billing_jobcharge",
    "INSERT INTO usage_dailyusage"
    " (organization_id, project_id, provider_id, offering_id, day, gpu_seconds, metered_until)"
    " SELECT organization_id, project_id, provider_id, offering_id, day, sum(gpu_seconds), max(ended_at)"
    " FROM usage_usagerecord GROUP BY 1, 2, 3, 4, 5",
    "INSERT INTO billing_dailycharge (organization_id, project_id, provider_id, offering_id, day, amount)"
    " SELECT organization_id, project_id, provider_id, offering_id, day, sum(amount)"
    " FROM billing_charge GROUP BY 1, 2, 3, 4, 5",
    "INSERT INTO billing_monthlycharge"
    " (organization_id, project_id, provider_id, offering_id, month, amount, gpu_seconds)"
    f" SELECT c.organization_id, c.project_id, c.provider_id, c.offering_id, {_MONTH}, sum(amount), sum(gpu_seconds)"
    " FROM billing_charge c JOIN usage_usagerecord r ON r.id = c.record_id GROUP BY 1, 2, 3, 4, 5",
    "INSERT INTO billing_personcharge (organization_id, project_id, user_id, month, amount, gpu_seconds)"
    f" SELECT c.organization_id, c.project_id, r.user_id, {_MONTH}, sum(amount), sum(gpu_seconds)"
    " FROM billing_charge c JOIN usage_usagerecord r ON r.id = c.record_id GROUP BY 1, 2, 3, 4",
    "INSERT INTO billing_jobcharge"
    " (organization_id, project_id, offering_id, user_id, job_code, month, amount, gpu_seconds)"
    f" SELECT c.organization_id, c.project_id, c.offering_id, r.user_id, c.job_code, {_MONTH}, sum(amount),"
    " sum(gpu_seconds) FROM billing_charge c JOIN usage_usagerecord r ON r.id = c.record_id"
    " GROUP BY 1, 2, 3, 4, 5, 6",
)
_FILL = """
import sys, django
django.setup()
import portal.urls
from tests.bench import usage_at_scale
usage_at_scale.fill(int(sys.argv[1]))
"""

if __name__ == "__main__":
    main()
