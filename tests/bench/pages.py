"""What the pages people look at most cost, beside a lean Django page, with 100 and with 100,000 jobs.

    .venv/bin/python -m tests.bench.pages [--rows 100000] [--seconds 4] [--rounds 3]

Starts its own PostgreSQL, Valkey and S3 in a temporary folder, fills two databases, serves the portal and the lean page
on both, and asks all four in turn, half a second each, so that a machine that is slower for a minute is slower for all.
Prints one table per number of rows. Nothing is asserted: the goals are printed too.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.measuring import Sample, cpu_seconds, load, serve

GOALS = "goals: p50 <= 4 x lean, CPU <= 4 x lean, p50 at most rows <= 1.2 x at 100, big owner <= 1.5 x member"
PAGES = ("lean", "jobs", "job", "catalog", "usage", "datasets")
PERSONS = ("member", "big")
SLICE_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    from portal.launcher.services import start_postgres, start_s3, start_valkey

    folder = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    services = [start_postgres(folder / "pg"), start_valkey(folder / "valkey"), start_s3(folder / "s3")]
    sites: list[Site] = []
    try:
        sites += [Site(folder, services, rows) for rows in (100, options.rows)]
        medians = _measure(sites, options)
        _compare(medians, *(site.rows for site in sites))
        print(GOALS)
    finally:
        for site in sites:
            site.stop()
        for service in reversed(services):
            service.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Site:
    """A filled database, the portal on it and the lean page on it."""

    def __init__(self, folder: Path, services: list[Any], rows: int, *, fill: str | None = None) -> None:
        """`fill`: a program that fills the database with as many rows as it is told, and prints as _FILL does."""
        self.rows = rows
        name = f"bench{rows}"
        postgres = services[0]
        self._postgres_pid = postgres.process._process.pid
        _psql(postgres.url, f"CREATE DATABASE {name}")
        environment = {
            **os.environ,
            **{k: v for service in services for k, v in service.environment.items()},
            "PORTAL_MODE": "demo", "PORTAL_DATA": str(folder), "SECRET_KEY": "bench", "PORTAL_URL": "http://localhost",
            "DJANGO_SETTINGS_MODULE": "portal.settings", "LOG_LEVEL": "WARNING",
            "DATABASE_URL": re.sub(r"/portal$", f"/{name}", postgres.url),
        }  # fmt: skip
        made = subprocess.run(
            [sys.executable, "-c", fill or _FILL, str(rows)],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.known = dict(line.split("=", 1) for line in made.stdout.split() if "=" in line)
        self._ports = {"lean": _free(), "portal": _free()}
        lean = {**environment, "DJANGO_SETTINGS_MODULE": "tests.bench.lean_settings"}
        log = folder / f"{name}.log"
        self._servers = {
            "portal": serve("portal.wsgi:application", self._ports["portal"], environment, log),
            "lean": serve("tests.bench.lean:application", self._ports["lean"], lean, log),
        }

    def ask(self, page: str, person: str, *, clients: int, seconds: float) -> tuple[Sample, float]:
        """What came of it, and CPU ms of web and PostgreSQL for each answer. `page`: of PAGES, or a path."""
        server = "lean" if page == "lean" else "portal"
        path = page if page.startswith("/") else f"/{page}/"
        if page == "job":
            path = f"/jobs/{self.known[person + '_job']}/"
        pids = [self._servers[server].pid, self._postgres_pid]
        before = cpu_seconds(pids)
        cookie = f"sessionid={self.known[person]}; theme=light"
        sample = load(self._ports[server], path, cookie=cookie, clients=clients, seconds=seconds)
        if sample.failures:
            print(f"  {page}: {sample.failures} answers were not 200")
        return sample, (cpu_seconds(pids) - before) * 1000 / len(sample.times)

    def stop(self) -> None:
        for process in self._servers.values():
            process.terminate()
            process.wait(10)


def _measure(sites: list[Site], options: argparse.Namespace) -> dict[tuple[str, str, int], float]:
    """p50 at one client, by page, person and number of rows."""
    slices = max(1, round(options.rounds * options.seconds / SLICE_S))
    taken: dict[tuple[str, str, int, int], list[tuple[Sample, float]]] = {}
    for page, person, site in itertools.product(PAGES, PERSONS, sites):  # warm
        site.ask(page, person, clients=4, seconds=1)
    for clients, _slice, page, person, site in itertools.product((1, 8), range(slices), PAGES, PERSONS, sites):
        one = site.ask(page, person, clients=clients, seconds=SLICE_S)
        taken.setdefault((page, person, site.rows, clients), []).append(one)
    medians = {}
    for site in sites:
        print(f"\n{site.rows:,} jobs, {slices} x {SLICE_S} s each, two web workers (ms; CPU: web + PostgreSQL)")
        print(f"{'page':10}{'person':8}{'p50 c1':>9}{'p95 c1':>9}{'x lean':>8}{'p50 c8':>9}{'p95 c8':>9}{'x lean':>8}"
              f"{'req/s c8':>10}{'CPU ms':>9}{'x lean':>8}")  # fmt: skip
        for person, page in itertools.product(PERSONS, PAGES):
            c1, c8 = (joined([s for s, _cpu in taken[page, person, site.rows, n]]) for n in (1, 8))
            cpu = statistics.median(cpu for _s, cpu in taken[page, person, site.rows, 8])
            if page == "lean":
                lean1, lean8, lean_cpu = c1.p50, c8.p50, cpu
            medians[page, person, site.rows] = c1.p50
            print(f"{page:10}{person:8}{c1.p50:9.1f}{c1.p95:9.1f}{c1.p50 / lean1:8.1f}{c8.p50:9.1f}{c8.p95:9.1f}"
                  f"{c8.p50 / lean8:8.1f}{c8.per_second:10.0f}{cpu:9.1f}{cpu / lean_cpu:8.1f}")  # fmt: skip
    return medians


def joined(samples: list[Sample]) -> Sample:
    return Sample(
        [t for s in samples for t in s.times], sum(s.seconds for s in samples), sum(s.failures for s in samples)
    )


def _compare(medians: dict[tuple[str, str, int], float], few: int, many: int) -> None:
    print("\npage      p50 many rows / 100 rows (member)   big owner / member (many rows)")
    for page in PAGES:
        print(f"{page:10}{medians[page, 'member', many] / medians[page, 'member', few]:18.2f}"
              f"{medians[page, 'big', many] / medians[page, 'member', many]:33.2f}")  # fmt: skip


_FILL = """
import sys, django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("collectstatic", interactive=False, verbosity=0)
call_command("seed_catalog")
from importlib import import_module
from django.conf import settings
from portal.jobs.models import Job
from tests.bench.filling import fill
people = fill(int(sys.argv[1]))
Store = import_module(settings.SESSION_ENGINE).SessionStore
for name, user in (("big", people.big_owner), ("member", people.member)):
    session = Store()
    session["_auth_user_id"] = str(user.pk)
    session["_auth_user_backend"] = settings.AUTHENTICATION_BACKENDS[0]
    session["_auth_user_hash"] = user.get_session_auth_hash()
    session.create()
    job = Job.objects.visible_to(user).filter(state="succeeded").order_by("-id").first()
    print(f"{name}={session.session_key}")
    print(f"{name}_job={job.code}")
"""


def _psql(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def _free() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
