"""Every file of a version for a program on a person's own computer: lists of addresses that live a day.

An address names the version, the person and its end, signed by us. It ends with the browser session that it was made
in and with the person's password, as the upload's token does; what that person may see is asked again for every file.
The bytes come from the store: each address answers with a fresh one of the store's own, good for 300 s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from allauth.usersessions.models import UserSession
from django.core import signing

from portal.accounts.models import User
from portal.datasets import tokens
from portal.datasets.manifests import files_of
from portal.datasets.models import DataFile, DatasetVersion

LIFETIME_S = 24 * 3600
_SALT = "datasets.fetching"


def token_for(version: DatasetVersion, person: User, session: UserSession) -> str:
    return signing.dumps({**tokens.signed_in(person, session), "v": version.pk}, salt=_SALT)


def opened(token: str) -> tuple[User, DatasetVersion] | None:
    """Who asks, and for what. None: not ours, too old, taken back, or no longer theirs to see."""
    try:
        said = signing.loads(token, salt=_SALT, max_age=LIFETIME_S)
    except signing.BadSignature:
        return None
    person = tokens.still_signed_in(said) if isinstance(said, dict) else None  # those of old were lists
    if person is None:
        return None
    version = DatasetVersion.objects.visible_to(person).select_related("dataset__organization").filter(pk=said["v"])
    found = version.first()
    return (person, found) if found else None


def list_of(version: DatasetVersion, kind: str, address_of: Callable[[DataFile], str]) -> Iterator[str]:
    """`curl`: a config for curl; `aria2`: its input file; `sha256`: for sha256sum --check; `urls`: the addresses."""
    line = _LINES[kind]
    for file in files_of(version, "code", "sha256"):
        yield line(file, address_of(file))


def _curl(file: DataFile, address: str) -> str:
    path = file.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'url = "{address}"\noutput = "{path}"\n'


_LINES: dict[str, Callable[[DataFile, str], str]] = {
    "curl": _curl,
    "aria2": lambda file, address: f"{address}\n  out={file.name}\n  checksum=sha-256={file.sha256}\n",
    "sha256": lambda file, address: f"{file.sha256}  {file.name}\n",
    "urls": lambda file, address: f"{address}\n",
}
KINDS = tuple(_LINES)
