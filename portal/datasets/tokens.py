"""A word with which a terminal may upload for an hour, as the person who asked for it, into one project or one dataset,
and make a version of what it sent.

It is signed and stored nowhere. It ends with the browser session that it was made in, so signing out (here, or
everywhere) takes it back, and with the person's password; what the person may do is asked anew at each request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from allauth.usersessions.models import UserSession
from django.core import signing
from django.utils.crypto import constant_time_compare

from portal.accounts.models import Project, User
from portal.datasets.models import Dataset

LIFETIME_S = 3600
_SALT = "portal.datasets.tokens"


@dataclass(frozen=True)
class Scope:
    """What the bearer may touch: uploads of this person into this project or into this dataset alone, and versions."""

    user: User
    project: Project
    dataset: Dataset | None = None

    def covers(self, dataset: Dataset) -> bool:
        return self.dataset.pk == dataset.pk if self.dataset else dataset.project_id == self.project.pk


def issue(*, by: User, session: UserSession, project: Project, dataset: Dataset | None = None) -> str:
    said = {**signed_in(by, session), "p": project.pk, "d": dataset.pk if dataset else 0}
    return signing.dumps(said, salt=_SALT)


def scope_of(token: str) -> Scope | None:
    """None: not ours, older than an hour, or taken back."""
    try:
        said = signing.loads(token, salt=_SALT, max_age=LIFETIME_S)
    except signing.BadSignature:
        return None
    user = still_signed_in(said)
    if user is None:
        return None
    project = Project.objects.select_related("organization").filter(pk=said["p"]).first()
    dataset = Dataset.objects.filter(pk=said["d"]).first()
    if project is None or (said["d"] and dataset is None):
        return None
    return Scope(user, project, dataset)


def signed_in(by: User, session: UserSession) -> dict[str, Any]:
    """What a token says of its person, for `still_signed_in`."""
    return {"u": by.pk, "h": _password(by), "s": session.pk}


def still_signed_in(said: dict[str, Any]) -> User | None:
    """None: the person has signed out of that session since, has a new password, or is locked out."""
    session = UserSession.objects.select_related("user").filter(pk=said["s"], user_id=said["u"]).first()
    if session is None or not session.user.is_active or not session.exists():
        return None
    user = session.user
    return user if isinstance(user, User) and constant_time_compare(said["h"], _password(user)) else None


def _password(user: User) -> str:
    """Changes when the password does, and tells nothing of it."""
    return str(user.get_session_auth_hash())[:16]
