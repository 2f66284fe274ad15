"""`start`: every server the portal needs, as children of this process, until Ctrl-C."""

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

from portal.launcher import environment, given_servers, programs, services
from portal.launcher.errors import CannotContinue
from portal.launcher.messages import say, seconds_so_far, sentence, show
from portal.launcher.ports import is_free, may_listen
from portal.launcher.private_files import read_json
from portal.launcher.processes import POLL_S, Child, Program, end_leftovers, remember
from portal.launcher.restarts import DEATHS_ALLOWED, WINDOW_S, KeepsDying, Restarts
from portal.launcher.state_folder import StateFolder

WATCH_S = 0.2
MODULES = (
    *("django", "celery", "kombu", "amqp", "vine", "granian", "psycopg", "psycopg_pool", "redis", "allauth", "fido2"),
    *("csp", "django_htmx", "django_structlog", "structlog", "dj_database_url", "whitenoise", "boto3", "botocore"),
    *("httpx", "websockets", "asyncssh", "cryptography", "jwt"),
)


class StopRequested(BaseException):
    """Ctrl-C, SIGTERM, or the terminal was closed."""


def start() -> int:
    environment.check()
    for module in MODULES:
        # One that is loaded is there: kombu, for one, then has no spec that could be found again.
        if module not in sys.modules and importlib.util.find_spec(module) is None:
            raise CannotContinue("module_missing", module=module)
    supervisor = Supervisor(StateFolder.from_environment(), port=_number("PORT", 8000, least=1, most=65535))
    try:
        supervisor.start()
        supervisor.watch()
    except StopRequested:
        pass
    finally:
        supervisor.stop()
    return 0


class Supervisor:
    def __init__(self, state: StateFolder, *, port: int) -> None:
        self.state = state
        self.port = port
        # In production the address is that of the reverse proxy in front.
        given = os.environ.get("PORTAL_URL") if _is_production() else None
        self.url = f"{given.rstrip('/')}/" if given else f"http://localhost:{port}/"
        self.web_workers = _number("WEB_WORKERS", 2, most=64)
        self.queue_workers = _number("QUEUE_WORKERS", 2, most=64)
        self.queue_threads = _number("QUEUE_THREADS", 12, most=256)
        # In the order in which they were started; each group stops as a whole before the one above it.
        self._servers: list[Child] = []
        self._emulators: list[Child] = []
        self._portal: list[Child] = []
        self._preparation: list[Child] = []

    # --- start -------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        self.state.take(url=self.url)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _request_stop)
        given_servers.try_all()
        ended = end_leftovers(self.state.children)
        if ended:
            say("leftover", names=", ".join(ended))
        if not may_listen(self.port):
            raise CannotContinue("port_needs_root", port=self.port)
        if not is_free(self.port):
            raise CannotContinue("port_taken", port=self.port, other=self._other_port())
        self._start_servers()
        django = environment.for_django(self.state, url=self.url.rstrip("/"))
        # The stores take longest: the tables are made meanwhile, and the preparation waits for them where it must.
        stores = [child for child in self._servers if child.program.name in ("s3", "s3copies")]
        self._wait_for([child for child in (*self._servers, *self._emulators) if child not in stores])
        self._prepare(programs.prepare(self.state, django), meanwhile=stores)
        self._start_portal(django)
        self._announce()

    def _start_servers(self) -> None:
        if not os.environ.get("S3_ENDPOINT"):
            services.renew_taken_ports(self.state.s3)
            services.renew_taken_ports(self.state.s3_copies, besides=self.state.s3)
        wanted = [definition.program for definition in environment.embedded_services(self.state)]
        emulators = [] if _is_production() else self._emulator_programs()
        if wanted or emulators:
            say("starting", names=", ".join(program.title for program in (*wanted, *emulators)))
        # The slowest first; PostgreSQL last, because this process makes its data folder on first use.
        for group, group_programs in ((self._servers, wanted), (self._emulators, emulators)):
            for program in group_programs:
                self._launch(program, group)

    def _emulator_programs(self) -> list[Program]:
        remembered = self.state.remembered()
        ports = remembered.emulator_ports if remembered else {}
        return [programs.emulator(kind, self.state, port=port) for kind, port in ports.items()]

    def _prepare(self, program: Program, *, meanwhile: Sequence[Child]) -> None:
        if _is_production():
            say("preparing")
        else:
            say("preparing_demo")
        child = self._launch(program, self._preparation)
        self._wait_for(meanwhile)
        while child.exit_status is None:
            self._fail_if_ended(self._lasting())
            time.sleep(POLL_S)
        self._preparation.clear()
        if child.exit_status != 0:
            raise child.failure("prepare_failed")
        say("prepared")

    def _start_portal(self, django: dict[str, str]) -> None:
        web = self._launch(programs.web(self.state, django, port=self.port, workers=self.web_workers), self._portal)
        # Alone, so that the address is there soonest; what is submitted meanwhile waits in the database.
        self._wait_for([web])
        for number in range(1, self.queue_workers + 1):
            program = programs.worker(self.state, django, number=number, threads=self.queue_threads)
            self._launch(program, self._portal)
        self._launch(programs.data_worker(self.state, django), self._portal)
        self._launch(programs.beat(self.state, django), self._portal)

    def _launch(self, program: Program, group: list[Child]) -> Child:
        child = Child(program)
        child.start()
        group.append(child)
        remember(self._all(), self.state.children)
        return child

    def _wait_for(self, children: Sequence[Child], *, timeout_s: float = 90) -> None:
        """Say of each that it is ready, in the order in which they get ready."""
        pending = list(children)
        deadline = time.monotonic() + timeout_s
        while pending:
            for child in list(pending):
                if child.is_ready():
                    pending.remove(child)
                    say("ready", name=child.program.title)
            self._fail_if_ended(self._lasting())
            if pending and time.monotonic() > deadline:
                raise pending[0].failure("child_not_ready", seconds=int(timeout_s))
            time.sleep(POLL_S)

    def _fail_if_ended(self, children: Sequence[Child]) -> None:
        for child in children:
            if child.exit_status is not None:
                raise child.failure("child_ended", status=child.exit_status)

    def _announce(self) -> None:
        say("address", seconds=f"{seconds_so_far():.1f}", url=self.url)
        if _is_production():
            show("  " + sentence("behind_proxy", port=self.port))
        logins = [] if _is_production() else read_json(self.state.demo_logins) or []
        if logins:
            show("  " + sentence("logins"))
            widths = [max(len(str(login[key])) for login in logins) for key in ("email", "password")]
            for login in logins:
                show(f"    {login['email']:{widths[0]}}  {login['password']:{widths[1]}}  {login['role']}")
        if not os.environ.get("EMAIL_URL"):
            show("  " + sentence("mail", url=f"{self.url}dev/mail/"))
        show("  " + sentence("how_to_stop", data=self.state.path))

    # --- watch -------------------------------------------------------------------------------------------------------
    def watch(self) -> None:
        """Bring back what dies. Ends by StopRequested, or by CannotContinue when one child keeps dying."""
        restarts = Restarts()
        due: dict[Child, float] = {}
        while True:
            for child in self._all():
                if child.exit_status is None:
                    continue
                if child not in due:
                    due[child] = self._note_death(child, restarts)
                if time.monotonic() >= due[child]:
                    del due[child]
                    child.start()
                    remember(self._all(), self.state.children)
            time.sleep(WATCH_S)

    def _note_death(self, child: Child, restarts: Restarts) -> float:
        title = child.program.title
        try:
            due = restarts.due_after_death(title, at=time.monotonic())
        except KeepsDying:
            times, seconds = DEATHS_ALLOWED, int(WINDOW_S)
            raise child.failure("keeps_ending", times=times, seconds=seconds) from None
        say("restarting", name=title, status=child.exit_status)
        child.end_group()
        return due

    # --- stop --------------------------------------------------------------------------------------------------------
    def stop(self) -> None:
        """Those that use the servers first, so that they can finish what they are writing. Ctrl-C again: at once."""
        if not self._all():
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._hurry)
        say("stopping")
        for group in (self._preparation, self._portal, self._emulators, self._servers):
            asked_at = time.monotonic()
            for child in group:
                child.ask_to_stop()
            for child in group:
                left = child.program.patience_s - (time.monotonic() - asked_at)
                child.wait_until_stopped(patience_s=max(0.0, left))
        self.state.children.unlink(missing_ok=True)
        say("stopped", data=self.state.path)

    def _hurry(self, number: int, frame: FrameType | None) -> None:
        for child in self._all():
            if child.exit_status is None:
                child.kill()

    def _all(self) -> list[Child]:
        return [*self._lasting(), *self._preparation]

    def _lasting(self) -> list[Child]:
        return [*self._servers, *self._emulators, *self._portal]

    def _other_port(self) -> int:
        return next((port for port in range(self.port + 1, min(self.port + 100, 65535)) if is_free(port)), 8080)


def _request_stop(number: int, frame: FrameType | None) -> None:
    raise StopRequested


def _is_production() -> bool:
    return os.environ.get("PORTAL_MODE") == "production"


def _number(name: str, default: int, *, least: int = 1, most: int) -> int:
    value = os.environ.get(name) or str(default)
    if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise CannotContinue("not_a_number", name=name, value=value, least=least, most=most)
    return int(value)
