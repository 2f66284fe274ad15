"""What the benchmarks share: a private stack, requests over keep-alive connections, CPU and memory of process trees."""

from __future__ import annotations

import http.client
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """Milliseconds per request, as the client saw them."""

    times: list[float]
    seconds: float
    failures: int

    @property
    def p50(self) -> float:
        return statistics.median(self.times)

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.times, n=20)[18] if len(self.times) > 20 else max(self.times)

    @property
    def per_second(self) -> float:
        return len(self.times) / self.seconds


def load(port: int, path: str, *, cookie: str, clients: int, seconds: float) -> Sample:
    """Each client asks again as soon as it was answered, over one connection."""
    times: list[float] = []
    failures = [0]
    end = time.perf_counter() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        own = []
        while time.perf_counter() < end:
            begun = time.perf_counter()
            connection.request("GET", path, headers={"Cookie": cookie, "Accept-Language": "ja", "Host": "localhost"})
            answer = connection.getresponse()
            answer.read()
            own.append((time.perf_counter() - begun) * 1000)
            failures[0] += answer.status != 200
        times.extend(own)

    begun = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Sample(times, time.perf_counter() - begun, failures[0])


def descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        queue.extend(children.get(one, []))
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes and their children, the ended ones included."""
    total = 0
    for root in pids:
        for pid in descendants(root):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            total += sum(int(fields[i]) for i in (11, 12, 13, 14))
    return total / TICK


def pss_mib(pids: Iterable[int]) -> float:
    """Proportional set size: memory that is shared counts once."""
    total = 0
    for root in pids:
        for pid in descendants(root):
            try:
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
            except OSError:
                continue
    return total / 1024


def serve(application: str, port: int, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """granian as `manage.py start` runs it: WSGI, two workers."""
    process = subprocess.Popen(
        [Path(sys.executable).parent / "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port),
         "--workers", "2", "--blocking-threads", "4", "--no-ws", application],
        env=environment,
        stdout=log.open("ab"),
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/healthz", headers={"Host": "localhost"})
            connection.getresponse().read()
            return process
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{application} did not start: {log.read_text()[-2000:]}")
