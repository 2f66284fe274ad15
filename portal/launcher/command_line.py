"""Which command was meant, and in which environment it runs. Standard library only, until .venv is there."""

import difflib
import errno
import os
import subprocess
import sys
from collections.abc import Sequence

from portal.launcher.bootstrap import (
    ROOT,
    RUNTIME_LOCK,
    TEST_LOCK,
    continue_in_environment,
    enter_environment,
    is_for_developers,
)
from portal.launcher.errors import CannotContinue
from portal.launcher.messages import sentence, show

OURS = ("start", "test", "soak")


def main(argv: Sequence[str]) -> int:
    """Returns the exit status. What the launcher refuses is one sentence, not a traceback."""
    command = argv[1] if len(argv) > 1 else ""
    try:
        if command in OURS:
            continue_in_environment(argv, lock=RUNTIME_LOCK if command == "start" else TEST_LOCK)
        else:
            enter_environment(argv)
        if command == "start":
            return _start(argv[2:])
        if command == "test":
            from portal.launcher.checks import check_and_test

            return check_and_test(argv[2:])
        if command == "soak":
            return subprocess.run([sys.executable, "-m", "tests.faults.soak", *argv[2:]], cwd=ROOT).returncode
        return _django(argv)
    except CannotContinue as problem:
        show(str(problem), to=sys.stderr)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            show(sentence("disk_full", path=error.filename or ROOT), to=sys.stderr)
        elif command in OURS:
            told = f"{error.filename}: {error.strerror}" if error.filename else error
            show(sentence("machine_refuses", problem=told), to=sys.stderr)
        else:
            raise
    except KeyboardInterrupt:
        return 130
    return 1


def _start(arguments: Sequence[str]) -> int:
    if arguments:
        raise CannotContinue("start_takes_nothing")
    try:
        from portal.launcher.supervisor import start
    except ImportError as error:
        raise _broken(error) from None
    return start()


def _django(argv: Sequence[str]) -> int:
    """Any other command is Django's, in the environment of the running (or last) start: it reaches the same servers."""
    if len(argv) == 1 or argv[1] in ("help", "--help", "-h"):
        show(sentence("usage") + "\n")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        raise _broken(error) from None
    from portal.launcher import environment
    from portal.launcher.state_folder import StateFolder

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    if nearest := difflib.get_close_matches(argv[1] if len(argv) > 1 else "", OURS, n=1, cutoff=0.78):
        raise CannotContinue("no_such_command", command=argv[1], nearest=nearest[0])
    if os.environ.get("PORTAL_MODE", "demo") == "demo":
        state = StateFolder.from_environment()
        os.environ.update(environment.for_django(state, url=state.last_url()))
    from django.core.exceptions import ImproperlyConfigured

    try:
        execute_from_command_line(list(argv))
    except ImproperlyConfigured as missing:  # its words already name the setting
        raise CannotContinue("setting_wrong", problem=missing) from None
    except ModuleNotFoundError as error:
        raise _broken(error) from error
    return 0


def _broken(error: ImportError) -> Exception:
    """What to raise when an import failed: one of the portal's own is a fault of the code, and stays a traceback."""
    if (error.name or "").partition(".")[0] == "portal":
        return error
    module = (error.name or "").partition(".")[0]
    if is_for_developers(module):
        return CannotContinue("developers_module_missing", module=module)
    return CannotContinue("module_missing", module=error.name or error)
