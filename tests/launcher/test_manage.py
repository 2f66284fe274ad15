"""manage.py itself: what runs before anything is installed."""

import ast
import subprocess
import sys

import pytest

import manage
from portal.launcher.bootstrap import ROOT


def test_file_parses_on_the_pythons_of_old_systems():
    ast.parse((ROOT / "manage.py").read_text(), feature_version=(3, 6))


def test_too_old_python_gets_one_sentence():
    with pytest.raises(SystemExit) as ended:
        manage.require_python((3, 9, 2))

    assert ended.value.code == (
        "The portal needs Python 3.11 or newer, and this is Python 3.9. "
        "Run it with a newer one, for example: python3.11 manage.py start"
    )


def test_new_enough_python_passes():
    manage.require_python((3, 11, 0))
    manage.require_python((3, 14, 0))


def test_before_the_environment_exists_only_the_standard_library_is_imported():
    code = "import portal.launcher.command_line, sys; print({m.split('.')[0] for m in sys.modules})"
    # -S: without site-packages, as on a machine that has nothing installed.
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.stderr == ""
    assert ast.literal_eval(done.stdout) - set(sys.stdlib_module_names) == {"portal", "__main__"}
