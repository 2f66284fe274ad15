"""One large file in a real Chromium: the network cut four times, the browser killed between.

.venv/bin/python -m pytest tests/browser/test_interrupted_uploads.py -m "browser and faults_full" -s     # 2 GiB
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Playwright, expect

from tests.browser.conftest import CHROMIUM, FLAGS, Portal, sign_in
from tests.datasets.wire import StoreWire

pytestmark = pytest.mark.browser
MIB = 1024 * 1024
BLOCK = 8 * MIB


@pytest.fixture
def wire(portal: Portal) -> Iterator[StoreWire]:
    """Between this Chromium and the store of the portal."""
    policy = portal.manage("shell", "-c", "from django.conf import settings; print(settings.S3_PUBLIC_ENDPOINT)")
    with StoreWire(policy.split()[-1]) as made:
        yield made


@pytest.fixture
def chromium(playwright: Playwright, portal: Portal, wire: StoreWire, tmp_path: Path) -> Iterator[Callable[[], Page]]:
    """Starts a Chromium with the same profile each time; its way to the store is the wire."""
    contexts: list[BrowserContext] = []

    def start() -> Page:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            args=FLAGS,
            base_url=portal.url,
            locale="ja-JP",
            proxy={"server": wire.url, "bypass": "<-loopback>,localhost"},
        )
        contexts.append(context)
        context.set_default_timeout(30_000)
        return context.pages[0]

    yield start
    contexts[-1].close()


def kill(profile: Path) -> None:
    """kill -9 of the Chromium with this profile, and of its children with it."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if f"--user-data-dir={profile}".encode() in words and not any(word.startswith(b"--type=") for word in words):
            os.kill(int(entry.name), signal.SIGKILL)
            return
    raise AssertionError("no such Chromium")


def until(holds: Callable[[], object], page: Page, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


@pytest.mark.parametrize(
    "size", [96 * MIB, pytest.param(2048 * MIB, marks=[pytest.mark.faults_full, pytest.mark.timeout(1800)])]
)
def test_a_file_survives_three_cuts_and_a_killed_browser(
    portal: Portal, wire: StoreWire, chromium: Callable[[], Page], tmp_path: Path, size: int
) -> None:
    path, digest = tmp_path / f"大きなデータ {size // MIB}.bin", hashlib.sha256()
    with path.open("wb") as file:
        for _block in range(size // BLOCK):
            data = os.urandom(BLOCK)
            digest.update(data)
            file.write(data)
    login = portal.logins()["member"]
    page = chromium()
    sign_in(page, login)
    page.goto("/datasets/")
    page.fill("#up-name", path.stem)

    # The page is told nothing of the cuts, and goes on by itself.
    wire.cut_at(size // 100)
    page.set_input_files("[data-files]", path)
    until(lambda: wire.is_cut and wire.refused >= 2, page, 300)
    wire.mend()
    wire.cut_at(size // 2)
    until(lambda: wire.is_cut and wire.refused >= 2, page, 300)
    wire.mend()

    wire.cut_at(size * 3 // 4)
    until(lambda: wire.is_cut and wire.refused >= 2, page, 300)

    # The browser is killed. Back again, the person sees what is there and chooses the file again.
    kill(tmp_path / "profile")
    wire.mend()
    first = Counter(wire.parts)
    wire.parts.clear()
    page = chromium()
    page.goto("/datasets/")
    if "/account/login/" in page.url:  # the cookie may or may not have reached the disk
        sign_in(page, login)
        page.goto("/datasets/")
    expect(page.locator("[data-meta]")).to_contain_text(re.compile(r"（\d+%）"))
    wire.cut_at(wire.received + size // 4 - size // 100)
    with page.expect_file_chooser() as chooser:
        page.click("[data-resume]")
    with page.expect_response("**/datasets/begin/") as begun:
        chooser.value.set_files(path)
    answer = begun.value.json()
    held, count = set(answer["held"]), -(-size // answer["part_size"])
    until(lambda: wire.is_cut and wire.refused >= 2, page, 300)
    wire.mend()
    expect(page.locator("[data-rows] .meta")).to_contain_text("SHA-256 確認済み", timeout=300_000)
    page.click("[data-act=open]")
    expect(page.locator("#files")).to_contain_text(digest.hexdigest())

    # The store's list is the truth: of a part that it took as the wire was cut, nobody heard.
    took, share = first.total() + wire.parts.total(), wire.received / size
    print(f"{size // MIB} MiB in {count} parts: {took} taken with an answer; {share:.3f} x its bytes were sent")
    assert set(first) <= held and set(wire.parts) == set(range(1, count + 1)) - held
    assert max([*first.values(), *wire.parts.values()]) == 1


@pytest.fixture
def choosing(portal: Portal, chromium: Callable[[], Page]) -> Page:
    page = chromium()
    sign_in(page, portal.logins()["member"])
    page.goto("/datasets/")
    return page


def test_a_file_that_changes_on_disk_is_said_at_once_and_can_be_chosen_again(
    choosing: Page, wire: StoreWire, tmp_path: Path
) -> None:
    path, row = tmp_path / f"変わる {time.monotonic_ns()}.bin", choosing.locator("[data-rows] .meta")
    path.write_bytes(os.urandom(40 * MIB))
    choosing.set_input_files("[data-files]", path)
    until(lambda: wire.received > MIB, choosing)
    wire.hold()
    path.write_bytes(os.urandom(41 * MIB))
    wire.mend()

    expect(row).to_have_text(
        "選んだ後に、このコンピューターでファイルが変わりました。もう一度選んでください。最初から送ります。",
        timeout=15_000,
    )
    choosing.set_input_files("[data-files]", path)
    expect(row).to_contain_text("SHA-256 確認済み", timeout=120_000)


def test_a_full_store_is_said_at_once(choosing: Page, wire: StoreWire, tmp_path: Path) -> None:
    path, row = tmp_path / f"満杯 {time.monotonic_ns()}.bin", choosing.locator("[data-rows] .meta")
    path.write_bytes(os.urandom(MIB))
    puts: list[str] = []
    choosing.on("request", lambda request: puts.append(request.url) if request.method == "PUT" else None)
    wire.answer_puts(507, "XMinioStorageFull")
    choosing.set_input_files("[data-files]", path)

    expect(row).to_contain_text("ストレージに空きがありません", timeout=15_000)
    assert len(puts) == 1
    wire.mend()
    choosing.click("[data-rows] [data-act=resume]")
    expect(row).to_contain_text("SHA-256 確認済み", timeout=120_000)


def test_a_store_that_hangs_is_said_with_the_time_and_without_a_speed(
    choosing: Page, wire: StoreWire, tmp_path: Path
) -> None:
    path, row = tmp_path / f"止まる {time.monotonic_ns()}.bin", choosing.locator("[data-rows] .meta")
    path.write_bytes(os.urandom(64 * MIB))
    choosing.set_input_files("[data-files]", path)
    until(lambda: wire.received > MIB, choosing)
    wire.hold()

    expect(row).to_have_text(
        re.compile(
            r"^\d+%、67\.1 MB中[\d.]+ MB。\d\d:\d\d:\d\d からストレージの応答がありません。"
            r"自動で続けます。届いた分は残ります。$"
        ),
        timeout=30_000,
    )
    wire.mend()
    expect(row).to_contain_text("SHA-256 確認済み", timeout=120_000)
