"""What our way costs an upload: 1 GiB by a Python client through presigned parts, beside the store's own ceiling.

    .venv/bin/python -m tests.bench.upload [--mib 1024] [--rounds 3] [--parallel 4]

A whole `manage.py start` with its store. In turn, `--rounds` times: boto3 with the store's own keys (the ceiling: it
signs the SHA-256 of each part), and static/portal-upload.py with a token, from `begin` to `complete`. Files of the same
size, the same parts, the same parallelism, each client in a process of its own. Printed: the best and the median of
each, their ratio, what the web process answered for a GiB, and the memory of client and web process.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx

from tests.bench.measuring import pss_mib
from tests.browser.conftest import ROOT, Portal, free_port

MIB = 1024 * 1024
GOALS = "goals: ours >= 0.9 x the ceiling; the web process sends < 50 KB per GiB; memory does not grow with the file"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--client", choices=["boto3", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        seconds, answered = {"boto3": _by_boto3, "ours": _by_ours}[options.client](
            Path(os.environ["FILE"]), options.parallel
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "answered": answered, "peak_mib": peak}))
        return
    folder = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    portal = Portal(folder, free_port())
    portal.start()
    try:
        _measure(portal, folder, options)
    finally:
        portal.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _measure(portal: Portal, folder: Path, options: argparse.Namespace) -> None:
    store = json.loads(
        portal.manage(
            "shell",
            "--no-imports",
            "-c",
            "import json; from django.conf import settings as s; print(json.dumps({'S3': s.S3_ENDPOINT,"
            " 'KEY': s.S3_ACCESS_KEY, 'SECRET': s.S3_SECRET_KEY, 'BUCKET': s.S3_BUCKET, 'REGION': s.S3_REGION}))",
        ).splitlines()[-1]
    )
    token = _token(portal)
    web = [row["pid"] for row in portal.children() if row["name"] == "web"]
    times: dict[str, list[float]] = {"boto3": [], "ours": []}
    peaks: dict[str, list[float]] = {"boto3": [], "ours": [], "small": []}
    sent = 0
    idle = pss_mib(web)
    # A sixteenth of the size first: memory that grows with the file would show. Loads the store's client into web.
    peaks["small"].append(_run("ours", _file(folder, options.mib // 16, "small"), portal, token, store, options)[2])
    small_web = pss_mib(web)
    for number in range(options.rounds):
        for client in ("boto3", "ours") if number % 2 else ("ours", "boto3"):
            path = _file(folder, options.mib, f"{client}-{number}")
            seconds, answered, peak = _run(client, path, portal, token, store, options)
            sent += answered
            times[client].append(seconds)
            peaks[client].append(peak)
            path.unlink()
    gib = options.rounds * options.mib / 1024
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {options.mib} MiB, {options.parallel} parts at a time")
    for client, name in (("boto3", "the store's ceiling (boto3)"), ("ours", "ours (portal-upload.py)")):
        best, middle = min(times[client]), statistics.median(times[client])
        print(f"{name}: best {options.mib / best:.0f} MiB/s, median {options.mib / middle:.0f} MiB/s")
    best = min(times["boto3"]) / min(times["ours"])
    middle = statistics.median(times["boto3"]) / statistics.median(times["ours"])
    print(f"ours / ceiling: best {best:.2f}, median {middle:.2f}")
    print(f"answers of the web process, heads included: {sent / gib / 1000:.1f} KB per GiB")
    small, large = max(peaks["small"]), max(peaks["ours"])
    print(f"memory of the client: {small:.0f} MiB for a 16th of the file, {large:.0f} MiB for all of it")
    web_memory = f"{idle:.0f} MiB idle, {small_web:.0f} after the small file, {pss_mib(web):.0f} after all"
    print(f"web processes together (PSS): {web_memory}")
    print(GOALS)


def _token(portal: Portal) -> str:
    login = portal.logins()["member"]
    with httpx.Client(base_url=portal.url, headers={"Accept-Language": "en"}, follow_redirects=True) as browser:

        def csrf(page: str) -> str:
            found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
            assert found
            return found.group(1)

        page = browser.get("/account/login/").text
        browser.post(
            "/account/login/",
            data={"login": login["email"], "password": login["password"], "csrfmiddlewaretoken": csrf(page)},
            headers={"Referer": portal.url},
        )
        page = browser.get("/datasets/").text
        project = re.search(r'<(?:option|input)[^>]*value="(p-\w+)"', page)
        assert project
        answer = browser.post(
            "/datasets/token/",
            data={"project": project.group(1), "csrfmiddlewaretoken": csrf(page)},
            headers={"Referer": portal.url},
        )
        found = re.search(r"PORTAL_TOKEN=([\w:-]+)", answer.text)
        assert found, answer.text
        return found.group(1)


def _file(folder: Path, mib: int, name: str) -> Path:
    """Random bytes, in the page cache: the disk is not what is measured."""
    path = folder / f"{name}.bin"
    block = os.urandom(16 * MIB)
    with path.open("wb") as file:
        for number in range(mib // 16 or 1):
            file.write(number.to_bytes(8, "big") + os.urandom(8) + block[16:])
    return path


def _run(
    client: str, path: Path, portal: Portal, token: str, store: dict[str, str], options: argparse.Namespace
) -> tuple[float, int, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.upload", "--client", client, "--parallel", str(options.parallel)],
        cwd=ROOT,
        env={**os.environ, **store, "FILE": str(path), "PORTAL_URL": portal.url, "PORTAL_TOKEN": token},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    return said["seconds"], said["answered"], said["peak_mib"]


def _script() -> object:
    spec = importlib.util.spec_from_file_location("portal_upload", ROOT / "static/portal-upload.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _by_ours(path: Path, parallel: int) -> tuple[float, int]:
    """Seconds, and the bytes of the portal's answers."""
    from concurrent.futures import ThreadPoolExecutor

    script = _script()
    portal = script.Portal(os.environ["PORTAL_URL"], os.environ["PORTAL_TOKEN"])  # type: ignore[attr-defined]
    answered, ask = [0], portal.client.request

    def counted(method: str, url: str, *more: object) -> tuple[int, object, bytes]:
        status, headers, body = ask(method, url, *more)
        if url.startswith(os.environ["PORTAL_URL"]):
            answered[0] += len(str(headers)) + len(body)
        return status, headers, body

    portal.client.request = counted
    progress = script.Progress(path.stat().st_size)  # type: ignore[attr-defined]
    dataset = script.Dataset("bench")  # type: ignore[attr-defined]
    with ThreadPoolExecutor(parallel) as pool:
        begun = time.perf_counter()
        script.Upload(portal, pool, progress, str(path), path.name, dataset).send()  # type: ignore[attr-defined]
        return time.perf_counter() - begun, answered[0]


def _by_boto3(path: Path, parallel: int) -> tuple[float, int]:
    from concurrent.futures import ThreadPoolExecutor

    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=os.environ["S3"],
        region_name=os.environ["REGION"],
        aws_access_key_id=os.environ["KEY"],
        aws_secret_access_key=os.environ["SECRET"],
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=parallel,
        ),
    )
    bucket, key, part = os.environ["BUCKET"], f"t/bench/{path.name}", 8 * MIB
    size = path.stat().st_size
    begun = time.perf_counter()
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]

    def put(number: int) -> dict[str, object]:
        with path.open("rb", buffering=0) as file:
            file.seek((number - 1) * part)
            data = file.read(part)
        answer = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=data)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    with ThreadPoolExecutor(parallel) as pool:
        parts = list(pool.map(put, range(1, -(-size // part) + 1)))
    client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
    seconds = time.perf_counter() - begun
    client.delete_object(Bucket=bucket, Key=key)
    return seconds, 0


if __name__ == "__main__":
    main()
