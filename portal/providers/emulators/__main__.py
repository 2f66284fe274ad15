"""python -m portal.providers.emulators KIND --state DIR --port PORT"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

from portal.providers.emulators.machine import DEFECTS
from portal.providers.emulators.sandbox import why_not
from portal.providers.emulators.settings import Settings

KINDS = ("sakura_dok", "slurm_rest", "slurm_ssh")


def main() -> None:
    if os.environ.get("PORTAL_MODE") == "production":
        sys.exit("The emulators are pretend providers: they do not start where PORTAL_MODE is production.")
    kind, settings = _arguments()
    settings.state.mkdir(parents=True, exist_ok=True)
    settings.state.chmod(0o700)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    # Each kind is imported alone: the SSH library is of no use to the others.
    module = importlib.import_module(f"portal.providers.emulators.{kind}")
    try:
        close = cast(Callable[[], None], module.start(settings))
    except OSError as error:
        sys.exit(f"The {kind} emulator cannot start on port {settings.port}: {error.strerror}.")
    print(f"{kind} emulator is ready; access: {settings.state / 'access.json'}", flush=True)
    if sentence := why_not():
        print(sentence, flush=True)
    stopped.wait()
    close()
    os._exit(0)  # threads that wait for clients have nothing to save


def _arguments() -> tuple[str, Settings]:
    parser = argparse.ArgumentParser(prog="python -m portal.providers.emulators", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--state", type=Path, required=True, help="folder for jobs, files and access.json")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--running", type=int, help="jobs that may run at once (DOK: 1)")
    parser.add_argument("--time-scale", type=float, default=1.0, help="60: a job's minute lasts a second")
    parser.add_argument("--versions", default="", help="slurm_rest: API versions served, comma-separated")
    parser.add_argument("--terms-not-agreed", action="store_true", help="sakura_dok: nobody agreed to the terms yet")
    parser.add_argument("--private-registry", default="", help="sakura_dok: HOST,USER,PASSWORD that it asks for")
    parser.add_argument("--defect", choices=DEFECTS, default="", help="what this provider gets wrong, to be found out")
    given = parser.parse_args()
    versions = tuple(word for word in given.versions.split(",") if word)
    private = tuple(given.private_registry.split(",", 2)) if given.private_registry else ()
    if len(private) not in (0, 3):
        parser.error("--private-registry is HOST,USER,PASSWORD")
    state = given.state.resolve()
    return given.kind, Settings(
        state, given.port, given.running, given.time_scale, versions, not given.terms_not_agreed, given.defect, private
    )


if __name__ == "__main__":
    main()
