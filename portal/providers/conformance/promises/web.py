"""A program that answers HTTP, seen from outside."""

from __future__ import annotations

import contextlib
import secrets
import time

from portal.providers.base import WebAccess
from portal.providers.conformance.bench import POLL_S, Bench
from portal.providers.conformance.kit import Broken, equal, hold, patient_promise, promise
from portal.providers.errors import Unavailable
from portal.providers.http_client import Answer, HttpClient

LISTENS_WITHIN_S = 60.0


@patient_promise
def a_web_port_is_answered_at_its_address_while_the_job_runs(bench: Bench) -> str:
    adapter, port = bench.ability(WebAccess), 20_000 + secrets.randbelow(10_000)
    page = f"mkdir www; echo hello >www/index.html; cd www; sleep 1; exec python3 -m http.server {port}"
    job = bench.submit(page, web_port=port)
    bench.wait_until_running(job)
    deadline, before = time.monotonic() + LISTENS_WITHIN_S, set[int]()
    while True:
        address = adapter.web_address(job)
        answer = _asked(address) if address else None
        if answer is not None and answer.ok:
            break
        if answer is not None:
            before.add(answer.status)
        if time.monotonic() > deadline:
            raise Broken(f"after {LISTENS_WITHIN_S:g} s: address {bool(address)}, answers {sorted(before)}")
        time.sleep(POLL_S)
    bench.adapter.cancel(job.remote_id)
    equal(answer.body, b"hello\n", "page")
    hold(before <= {503}, f"{sorted(before)} before it listened")
    equal(adapter.web_address(bench.wait(job)), None, "address after the end")
    return "hello, and no address after the end"


@promise
def a_job_without_a_web_port_has_no_address(bench: Bench) -> str:
    adapter, job = bench.ability(WebAccess), bench.submit("sleep 60")
    address = adapter.web_address(bench.wait_until_running(job))
    bench.adapter.cancel(job.remote_id)
    equal(address, None, "address while it runs")
    return "none"


def _asked(address: str) -> Answer | None:
    """None: nobody is there yet, not even to say so."""
    with contextlib.closing(HttpClient(address)) as client, contextlib.suppress(Unavailable):
        return client.request("GET", "/")
    return None
