"""What the pages people look at most cost, beside a lean Django page, with 100 and with 100,000 jobs.

    .venv/bin/python -m tests.bench.pages [--rows 100000] [--seconds 4] [--rounds 3]

Starts its own PostgreSQL, Valkey and S3 in a temporary folder, fills them, serves the portal and the lean page side by
side, asks both in turn, and prints one table per number of rows. Nothing is asserted: the goals are printed too.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.measuring import Sample, cpu_seconds, load, serve

GOALS = "goals: p50 <= 4 x lean, CPU <= 4 x lean, p50 at most rows <= 1.2 x at 100, big owner <= 1.5 x member"
PAGES = ("lean", "jobs", "job", "catalog", "usage", "datasets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    from portal.launcher.services import start_postgres, start_s3, start_valkey

    folder = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    services = [start_postgres(folder / "pg"), start_valkey(folder / "valkey"), start_s3(folder / "s3")]
    try:
        medians = {}
        for rows in (100, options.rows):
            medians[rows] = _measure(folder, services, rows, options)
        _compare(medians[100], medians[options.rows])
        print(GOALS)
    finally:
        for service in reversed(services):
            service.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _measure(folder: Path, services: list, rows: int, options: argparse.Namespace) -> dict[tuple[str, str], float]:
    environment = {
        **os.environ,
        **{k: v for service in services for k, v in service.environment.items()},
        "PORTAL_MODE": "demo", "PORTAL_DATA": str(folder), "SECRET_KEY": "bench", "PORTAL_URL": "http://localhost",
        "DJANGO_SETTINGS_MODULE": "portal.settings", "LOG_LEVEL": "WARNING",
    }  # fmt: skip
    postgres = services[0]
    name = f"bench{rows}"
    _psql(postgres.url, f"CREATE DATABASE {name}")
    environment["DATABASE_URL"] = re.sub(r"/portal$", f"/{name}", postgres.url)
    made = subprocess.run(
        [sys.executable, "-c", _FILL, str(rows)], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    cookies = dict(line.split("=", 1) for line in made.stdout.split() if "=" in line)
    portal_port, lean_port = _free(), _free()
    portal = serve("portal.wsgi:application", portal_port, environment, folder / "web.log")
    lean_env = {**environment, "DJANGO_SETTINGS_MODULE": "tests.bench.lean_settings"}
    lean = serve("tests.bench.lean:application", lean_port, lean_env, folder / "lean.log")
    try:
        return _table(rows, options, cookies, portal, portal_port, lean, lean_port, postgres.process)
    finally:
        for process in (portal, lean):
            process.terminate()
            process.wait(10)


def _table(rows, options, cookies, portal, portal_port, lean, lean_port, postgres):  # type: ignore[no-untyped-def]
    urls = {
        "lean": "/lean/", "jobs": "/jobs/", "catalog": "/catalog/", "usage": "/usage/", "datasets": "/datasets/",
    }  # fmt: skip
    postgres_pid = postgres._process.pid
    medians: dict[tuple[str, str], float] = {}
    print(
        f"\n{rows:,} jobs, {options.rounds} rounds x {options.seconds:g} s, two web workers (ms; CPU: web + PostgreSQL)"
    )
    print(f"{'page':10}{'person':8}{'p50 c1':>9}{'p95 c1':>9}{'x lean':>8}{'p50 c8':>9}{'p95 c8':>9}{'x lean':>8}"
          f"{'req/s c8':>10}{'CPU ms':>9}{'x lean':>8}")  # fmt: skip
    base: dict[str, float] = {}
    for person in ("member", "big"):
        urls["job"] = f"/jobs/{cookies[person + '_job']}/"
        cookie = f"sessionid={cookies[person]}; theme=light"
        samples: dict[str, dict[str, list]] = {page: {"c1": [], "c8": [], "cpu": []} for page in PAGES}
        for page in PAGES:  # warm
            load(lean_port if page == "lean" else portal_port, urls[page], cookie=cookie, clients=2, seconds=1)
        for _round in range(options.rounds):
            for page in PAGES:
                port, server = (lean_port, lean) if page == "lean" else (portal_port, portal)
                for clients in (1, 8):
                    before = cpu_seconds([server.pid, postgres_pid])
                    sample = load(port, urls[page], cookie=cookie, clients=clients, seconds=options.seconds)
                    used = cpu_seconds([server.pid, postgres_pid]) - before
                    samples[page][f"c{clients}"].append(sample)
                    if clients == 8:
                        samples[page]["cpu"].append(used * 1000 / len(sample.times))
                    if sample.failures:
                        print(f"  {page}: {sample.failures} answers were not 200")
        for page in PAGES:
            c1, c8 = _joined(samples[page]["c1"]), _joined(samples[page]["c8"])
            cpu = statistics.median(samples[page]["cpu"])
            if page == "lean":
                base = {"c1": c1.p50, "c8": c8.p50, "cpu": cpu}
            medians[(page, person)] = c1.p50
            print(f"{page:10}{person:8}{c1.p50:9.1f}{c1.p95:9.1f}{c1.p50 / base['c1']:8.1f}{c8.p50:9.1f}{c8.p95:9.1f}"
                  f"{c8.p50 / base['c8']:8.1f}{c8.per_second:10.0f}{cpu:9.1f}{cpu / base['cpu']:8.1f}")  # fmt: skip
    return medians


def _joined(samples: list[Sample]) -> Sample:
    return Sample(
        [t for s in samples for t in s.times], sum(s.seconds for s in samples), sum(s.failures for s in samples)
    )


def _compare(few: dict[tuple[str, str], float], many: dict[tuple[str, str], float]) -> None:
    print("\npage      p50 many rows / 100 rows (member)   big owner / member (many rows)")
    for page in PAGES:
        print(f"{page:10}{many[(page, 'member')] / few[(page, 'member')]:18.2f}"
              f"{many[(page, 'big')] / many[(page, 'member')]:33.2f}")  # fmt: skip


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
