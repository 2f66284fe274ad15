"""Names by which others know our work: a job's key at its provider, and who holds a lease."""

import os
import socket

from django.conf import settings

from portal.jobs.models import Attempt


def key_of(attempt: Attempt) -> str:
    """The job's name, label and token at the provider: ours alone, in this installation alone."""
    return f"{key_prefix()}{attempt.code}"


def key_prefix() -> str:
    return f"jga-{settings.INSTALLATION_ID}-"


def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"[:80]
