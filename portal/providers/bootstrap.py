"""What every provider is given to run, and the manifest it reads: the two ends of one format.

The script claims the attempt with an atomic mkdir, and with a call to the portal where the manifest has an address for
it; lays inputs at $PORTAL_DATA_DIR, runs the command, and saves log and $PORTAL_OUTPUT_DIR. Only the address of the
manifest travels in the job's environment (DOK allows 8,192 characters).

The call is a POST of a form: `copy`, made anew by each copy, and `remote_id`, the provider's id of the job where the
environment tells it. 200: this copy may run, also when it asks again. 409 or 410: another has begun, or none is wanted
any more. Everything else is asked again for two minutes, since the machine is paid for meanwhile.

What the provider's adapter pushed lies in one directory with the manifest: there addresses are `file:<name>`, and no
network is needed.

Environment: PORTAL_MANIFEST_URL or PORTAL_MANIFEST_FILE (one is required; the file is moved away, and so is what lies
beside it); PORTAL_WORK_DIR (default: where the job starts); PORTAL_DATA_DIR (default:
`data` in it); PORTAL_OUTPUT_ARCHIVE (a file to pack the output into, for an adapter that collects it by SFTP);
PORTAL_FETCH_PAUSE_S (the longest pause before the manifest is asked for again, default 16: half a minute in all);
PORTAL_CLAIM_WAIT_S (how long the portal is asked, default 120); PORTAL_STOP_GRACE_S (seconds between TERM and KILL for
the command, default 5); PORTAL_CLEAN_UP (not empty: remove what was staged and made, once it is saved).
"""

from __future__ import annotations

import base64
import enum
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

RESERVED = frozenset({"data", "output", ".portal"})  # what the script makes in the work directory
FORMAT = "portal-manifest\t1"
END = "end"  # the last line, so that a cut answer is noticed

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_URL = re.compile(r"https?://[!#-\[\]-~]+\Z")  # no space, quote or backslash: safe in curl's config
_PUSHED = re.compile(r"file:[a-z0-9-]+\Z")


class BootstrapExit(enum.IntEnum):
    """Exit codes of the script itself. A command that ends with one of them is reported as 1, and its log says so."""

    OUTPUT_NOT_SAVED = 94  # the command ended with 0, but what it made is lost
    NOT_STARTED = 95  # no manifest, no place to write, or no answer from the portal
    INPUT_MISMATCH = 96  # an input cannot be fetched, or is not what the portal stored
    NO_TOOL = 97  # the image has nothing to fetch, to decode or to check with
    SECOND_COPY = 98  # this attempt was claimed before, or is over: nothing was run


@dataclass(frozen=True)
class ManifestFile:
    """One file to lay on the machine. Inputs go below $PORTAL_DATA_DIR, scripts into the work directory."""

    url: str = field(repr=False)  # presigned: whoever has it can read the file; or file:<name>, where it was pushed
    sha256: str
    size_bytes: int
    path: str  # relative, "/" between the parts


@dataclass(frozen=True)
class Manifest:
    """All that the script needs to know about one attempt."""

    job: str  # the portal's code of the job, as $PORTAL_JOB
    command: str = field(repr=False)  # one shell command line, run by /bin/sh in the work directory
    inputs: tuple[ManifestFile, ...] = ()
    scripts: tuple[ManifestFile, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    claim_url: str = field(default="", repr=False)  # empty: mkdir alone, where copies share a disk
    put_output_url: str = field(default="", repr=False)  # empty: the adapter collects the output itself
    put_log_url: str = field(default="", repr=False)
    log_every_s: int = 10


@functools.cache
def bootstrap_script() -> str:
    """The POSIX shell script that is `JobSpec.script` at every provider."""
    return Path(__file__).with_name("bootstrap.sh").read_text(encoding="utf-8")


def render_manifest(manifest: Manifest) -> str:
    """The manifest as the script reads it: one tab-separated record a line, UTF-8.

    Raises ValueError for what the format cannot carry: a name with a tab or a line break, a path that leaves its
    directory, a script named like a directory of ours (RESERVED), an address with spaces or quotes.
    """
    records = [FORMAT, f"job\t{_text(manifest.job)}", f"command\t{_base64(manifest.command)}"]
    if manifest.claim_url:
        records.append(f"claim\t{_url(manifest.claim_url)}")
    records += [_file("input", item) for item in manifest.inputs]
    records += [_script(item) for item in manifest.scripts]
    records += [_variable(name, value) for name, value in manifest.environment.items()]
    if manifest.put_output_url:
        records.append(f"put-output\t{_url(manifest.put_output_url)}")
    if manifest.put_log_url:
        records.append(f"put-log\t{_url(manifest.put_log_url)}")
    records.append(f"log-every\t{max(1, manifest.log_every_s)}")
    return "\n".join([*records, END, ""])


def _script(item: ManifestFile) -> str:
    if item.path.partition("/")[0] in RESERVED:
        raise ValueError(f"a script cannot be named {item.path!r}: the portal makes a directory of that name")
    return _file("script", item)


def _file(kind: str, item: ManifestFile) -> str:
    if not _SHA256.match(item.sha256):
        raise ValueError("a checksum is 64 lower-case hexadecimal digits")
    parts = _text(item.path).split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{item.path!r} is not a plain relative path")
    url = item.url if _PUSHED.match(item.url) else _url(item.url)
    return f"{kind}\t{url}\t{item.sha256}\t{int(item.size_bytes)}\t{item.path}"


def _variable(name: str, value: str) -> str:
    if not _NAME.match(name):
        raise ValueError(f"{name!r} is not the name of an environment variable")
    return f"env\t{name}\t{_base64(value)}"


def _url(url: str) -> str:
    if not _URL.match(url):
        raise ValueError("the address is not a plain http(s) address")
    return url


def _text(value: str) -> str:
    if not value or any(character < " " or character == "\x7f" for character in value):
        raise ValueError(f"{value!r} is empty or holds control characters")
    return value


def _base64(value: str) -> str:
    if "\0" in value:
        raise ValueError("a command or a variable cannot hold a NUL character")
    return base64.b64encode(value.encode()).decode()
