"""The CSV of an invoice of 50,000 lines, and its page: first byte, whole answer, memory on top.

    .venv/bin/python -m tests.bench.invoice_lines [--lines 50000]

Starts its own PostgreSQL and Valkey. The views answer in this process, as a worker of the web server runs them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOALS = "goals: first byte <= 1 s, memory <= +50 MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=50_000)
    options = parser.parse_args()
    from portal.launcher.services import start_postgres, start_valkey

    folder = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    services = [start_postgres(folder / "pg"), start_valkey(folder / "valkey")]
    try:
        environment = {
            **os.environ,
            **{k: v for service in services for k, v in service.environment.items()},
            "PORTAL_MODE": "demo", "PORTAL_DATA": str(folder), "SECRET_KEY": "bench", "PORTAL_URL": "http://localhost",
            "DJANGO_SETTINGS_MODULE": "portal.settings", "LOG_LEVEL": "ERROR", "S3_ENDPOINT": "http://127.0.0.1:9",
            "S3_ACCESS_KEY": "none", "S3_SECRET_KEY": "none",
        }  # fmt: skip
        for act in (f"fill({options.lines})", "measure()"):
            code = f"import django; django.setup(); from tests.bench import invoice_lines; invoice_lines.{act}"
            subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        print(GOALS)
    finally:
        for service in reversed(services):
            service.stop()
        shutil.rmtree(folder, ignore_errors=True)


def fill(lines: int) -> None:
    from django.core.management import call_command

    from portal.accounts.roles import Role
    from tests.factories import InvoiceFactory, MembershipFactory

    call_command("migrate", verbosity=0)
    owner = MembershipFactory(role=Role.OWNER)
    InvoiceFactory(organization=owner.organization, total=11 * lines, due=11 * lines, tax=lines, lines=lines)


def measure() -> None:
    from django.test import Client

    from portal.accounts.models import User
    from portal.billing.models import Invoice

    client, number = Client(headers={"host": "localhost"}), Invoice.objects.get().number
    client.force_login(User.objects.get(), backend="allauth.account.auth_backends.AuthenticationBackend")
    client.get("/usage/invoices/")  # what a process does once
    for name, path in (("page", ""), ("CSV", "csv/")):
        before, began = _peak_mib(), time.perf_counter()
        response = client.get(f"/usage/invoices/{number}/{path}")
        assert response.status_code == 200, response.status_code
        body = iter(response.streaming_content) if response.streaming else iter([response.content])  # type: ignore[attr-defined]
        size = len(next(body))
        first = time.perf_counter() - began
        size += sum(len(piece) for piece in body)
        whole, more = time.perf_counter() - began, _peak_mib() - before
        print(f"{name}: first byte {first * 1000:.0f} ms, whole {whole:.2f} s, {size / 1000:.0f} KB, +{more:.0f} MiB")


def _peak_mib() -> float:
    """The most memory this process has had so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
