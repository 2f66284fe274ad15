"""What production needs and lacks ends the start with its name; a demo needs nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings

SECRETS = {
    "SECRET_KEY": "x" * 50,
    "CREDENTIALS_KEYS": "ZGVtby1vbmx5LWRlbW8tb25seS1kZW1vLW9ubHktMzI=",
    "INSTALLATION_ID": "prod01",
    "PORTAL_URL": "https://portal.example.jp/",
}


def last_words(**changes: str) -> str:
    code = "import portal.settings as s; print(s.PORTAL_URL, s.ALLOWED_HOSTS, s.PRODUCTION)"
    kept = {name: value for name, value in os.environ.items() if name not in ("PORTAL_MODE", *SECRETS)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, env={**kept, **changes}, capture_output=True, text=True
    )
    return (done.stderr or done.stdout).strip().splitlines()[-1].removeprefix("django.core.exceptions.")


def test_a_demo_needs_nothing() -> None:
    assert last_words() == "http://localhost:8000 ['localhost', 'localhost', '127.0.0.1', 'testserver'] False"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"PORTAL_MODE": "prod"}, "PORTAL_MODE must be demo, test or production."),
        ({"SECRET_KEY": ""}, "Set SECRET_KEY (README.md, table of settings)."),
        ({"SECRET_KEY": "short"}, "SECRET_KEY must have 40 characters or more."),
        ({"INSTALLATION_ID": "Prod-1"}, "INSTALLATION_ID must be 4 to 12 small letters and digits."),
        ({"PORTAL_URL": ""}, "Set PORTAL_URL (README.md, table of settings)."),
        (
            {"CREDENTIALS_KEYS": f"{SECRETS['CREDENTIALS_KEYS']},old"},
            "CREDENTIALS_KEYS must be Fernet keys, comma-separated (cryptography.fernet.Fernet.generate_key()).",
        ),
    ],
)
def test_what_production_lacks_is_named(changes: dict[str, str], said: str) -> None:
    given = {"PORTAL_MODE": "production", **SECRETS, **changes}
    assert last_words(**given) == f"ImproperlyConfigured: {said}"
