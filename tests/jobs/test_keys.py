import os
import re
import socket
from typing import Any

from portal.jobs.keys import key_of, key_prefix, worker_name
from portal.jobs.models import Attempt


def test_a_key_is_ours_alone_and_safe_at_every_provider(settings: Any) -> None:
    attempt = Attempt()
    key = key_of(attempt)
    assert key == f"jga-test00-{attempt.code}"
    assert re.fullmatch("[a-z0-9-]{1,64}", key)
    settings.INSTALLATION_ID = "other9"
    assert (key.startswith(key_prefix()), key_of(attempt).startswith("jga-other9-")) == (False, True)


def test_no_installations_prefix_is_the_beginning_of_anothers(settings: Any) -> None:
    prefixes = []
    for installation in ("abcd", "abcdef"):
        settings.INSTALLATION_ID = installation
        prefixes.append(key_prefix())
    assert prefixes[1].startswith(prefixes[0]) is False


def test_a_worker_is_named_by_machine_and_process_within_its_column() -> None:
    assert worker_name() == f"{socket.gethostname()}:{os.getpid()}"[:80]
    assert len(worker_name()) <= Attempt._meta.get_field("lease_owner").max_length
