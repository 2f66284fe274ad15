"""A real portal for the browser: `manage.py start` in a folder of its own, as a new user would have it.

`portal` runs for the whole session; `page_for(language=, theme=, width=, javascript=)` opens a fresh browser context.
Its CSP reports and page errors are collected, and fail the test when there were any.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from portal.launcher.processes import started_at

if TYPE_CHECKING:
    from tests.browser.world import World

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass
class Portal:
    """A running `manage.py start`. `environment`: what its user has set."""

    folder: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    process: subprocess.Popen[bytes] | None = None
    output: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self) -> float:
        """Seconds until the start said that it is ready."""
        begun = time.monotonic()
        log = (self.folder / "start.log").open("ab")
        self.process = subprocess.Popen(
            [self.python, "manage.py", "start"],
            cwd=ROOT,
            env={**self._own(), "PORT": str(self.port), "LANG": "C.UTF-8", "HANDOFF_LISTING_LAG_MIN_S": "3"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        while time.monotonic() - begun < 120:
            if self.process.poll() is not None:
                raise AssertionError((self.folder / "start.log").read_text())
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    if f":{self.port}/" in (self.folder / "start.log").read_text().split("\f")[-1]:
                        return time.monotonic() - begun
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError("the portal did not start: " + (self.folder / "start.log").read_text())

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(40)
        self._end_of_this_start()

    def kill(self) -> None:
        """kill -9 of the supervisor, as a machine short of memory does it."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self._end_of_this_start()

    def kill_child(self, name: str) -> None:
        """kill -9 of one of its servers."""
        os.kill(self.pid_of(name), signal.SIGKILL)

    def pid_of(self, name: str) -> int:
        """Of one of its servers, as the supervisor remembers it."""
        row = next(row for row in self.children() if row["name"] == name)
        assert started_at(row["pid"]) == row["started"], f"{name} does not run"
        return int(row["pid"])

    def children(self) -> list[dict[str, Any]]:
        return list(json.loads((self.folder / "children.json").read_text()))

    def manage(self, *arguments: str) -> str:
        """What a command of manage.py prints; it reaches the same servers. Raises when it fails."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self._own(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _own(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k not in _INHERITED}
        return {**inherited, "PORTAL_DATA": str(self.folder), **self.environment}

    def _end_of_this_start(self) -> None:
        self.process = None
        with (self.folder / "start.log").open("a") as log:
            log.write("\f")

    def logins(self) -> dict[str, dict[str, str]]:
        return {entry["role"]: entry for entry in json.loads((self.folder / "demo-logins.json").read_text())}

    def mails_to(self, address: str) -> list[Any]:
        """Newest last."""
        found = []
        for path in sorted((self.folder / "mail").glob("*"), key=lambda p: p.stat().st_mtime):
            for raw in path.read_bytes().split(b"\n" + b"-" * 79 + b"\n"):
                if raw.strip():
                    mail = message_from_bytes(raw, policy=policy.default)
                    if mail["To"] == address:
                        found.append(mail)
        return found

    def wait_for_mail(self, address: str, pattern: str, *, after: int = 0) -> str:
        """The first group of `pattern` in the newest mail; `after`: how many mails the address had before."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            mails = self.mails_to(address)
            if len(mails) > after:
                match = re.search(pattern, mails[-1].get_body(("plain",)).get_content())
                if match:
                    return match.group(1)
            time.sleep(0.2)
        raise AssertionError(f"no mail to {address} with {pattern}")


# What tests/services.py set for this process is not for the portal under test.
_INHERITED = {
    "PORTAL_TEST_SERVICES", "PORTAL_MODE", "PORTAL_DATA", "DATABASE_URL", "BROKER_URL", "CACHE_URL", "SECRET_KEY",
    "S3_ENDPOINT", "S3_PUBLIC_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_REGION", "S3_BUCKET", "PORTAL_URL",
    "MACHINES_URL", "INSTALLATION_ID", "CREDENTIALS_KEYS", "EMULATORS_DIR",
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    running = Portal(tmp_path_factory.mktemp("portal"), free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        words = f"no Chromium at {CHROMIUM}: apt-get install chromium fonts-noto-cjk, or set CHROMIUM to another one"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
    running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield running
    running.close()


@pytest.fixture
def page_for(browser: Browser, portal: Portal) -> Iterator[Callable[..., Page]]:
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(*, language: str = "ja", theme: str = "light", width: int = 1440, javascript: bool = True) -> Page:
        context = browser.new_context(
            base_url=portal.url,
            locale="ja-JP" if language == "ja" else "en-US",
            timezone_id="Asia/Tokyo",
            viewport={"width": width, "height": 900},
            java_script_enabled=javascript,
            accept_downloads=True,
        )
        context.add_cookies([{"name": "theme", "value": theme, "url": portal.url}])
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
        page.on(
            "console",
            lambda message: (
                complaints.append(f"console: {message.text}") if "Content Security Policy" in message.text else None
            ),
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def world(browser: Browser, portal: Portal, tmp_path_factory: pytest.TempPathFactory) -> World:
    from tests.browser import world

    return world.make(browser, portal, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def jobs_under_way(browser: Browser, portal: Portal, world: World) -> World:
    """The world with a job that runs and one that waits. They keep one provider busy: test_journey.py comes before."""
    from tests.browser.world import person, waiting_and_running

    owner = person(browser, portal)
    sign_in(owner, world.login("owner"))
    world.jobs |= waiting_and_running(owner)
    owner.context.close()
    return world


def sign_in(page: Page, login: dict[str, str]) -> None:
    page.goto("/account/login/")
    page.fill("input[name=login]", login["email"])
    page.fill("input[name=password]", login["password"])
    page.click("main form.stack button.primary")
    page.wait_for_url(lambda url: "/account/login" not in url)
