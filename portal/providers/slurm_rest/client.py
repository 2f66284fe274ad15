"""Speaks slurmrestd's wire. Sources: Slurm 22.05.8 (Debian 12), tried by hand; SchedMD rest.shtml, jwt.shtml (284c3b9).

Paths: /slurm/vX/... and, where accounting is on, /slurmdb/vX/...; headers X-SLURM-USER-NAME and X-SLURM-USER-TOKEN
(both are needed in 22.05). The HTTP status means little: an expired token, an unknown job and a wrong partition are
all 500. What counts are the numbers in errors[], where there are any: a gateway in front of it has none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import jwt

from portal.providers.base import Account
from portal.providers.errors import Misconfigured, NotFound, OutcomeUnknown, ProviderError, Rejected, Unavailable
from portal.providers.http_client import JSON_LIMIT_BYTES, Answer, HttpClient
from portal.providers.redaction import without
from portal.providers.slurm import refusal
from portal.providers.slurm_rest.translation import whole

# Slurm 22.05 to 26.05, newest first. v0.0.38 was tried with the real thing, the others are read from SchedMD's tags.
VERSIONS = ("v0.0.45", "v0.0.44", "v0.0.43", "v0.0.42", "v0.0.41", "v0.0.40", "v0.0.39", "v0.0.38")

_NO_SUCH_JOB = {2017, 9003}  # ESLURM_INVALID_JOB_ID; ESLURM_REST_EMPTY_RESULT
_WRONG_ACCOUNT = {1007, 2000, 2001, 2002, 2045, 2066}  # authentication; partition, access, account, QOS
_CONTROLLER = range(2000, 3000)  # slurmctld read the request and said no
_WRONG_REQUEST = {9000, 9001, 9002, 9004, 9005}  # slurmrestd could not make sense of it


class NoSuchPath(NotFound):
    """404: this server does not speak this version, or has no accounting."""


class SlurmRestClient:
    def __init__(self, account: Account) -> None:
        try:
            user, token = account.credentials["user"], account.credentials["token"]
        except KeyError as error:
            raise Misconfigured(f"the account's credentials lack {error}") from None
        self._secrets = (token,)
        self._expires_at = _expiry(token)
        self._http = HttpClient(account.endpoint, headers={"X-SLURM-USER-NAME": user, "X-SLURM-USER-TOKEN": token})

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        creates: bool = False,
        secrets: tuple[str, ...] = (),
        limit: int = JSON_LIMIT_BYTES,
    ) -> dict[str, Any]:
        """An answer without errors. Raises any of ours; OutcomeUnknown only if it `creates`."""
        if self._expires_at is not None and self._expires_at <= time.time():
            # Sent, it would come back as 500 with number -1, like a controller that is down.
            raise Misconfigured("the Slurm token has expired", code="token_expired")
        answer = self._http.request(method, path, params=params, body=body, creates=creates, limit=limit)
        lost = OutcomeUnknown if creates else Unavailable
        secrets = (*self._secrets, *secrets)
        content = _content(answer)
        told = content.get("errors") if content else None
        errors = [item for item in told if isinstance(item, dict)] if isinstance(told, list) else []
        numbers = [_number(item) for item in errors]
        if set(numbers) <= {-1} and (refused := _refused(answer, secrets)):
            raise refused
        if errors:
            text = without("; ".join(_describe(item) for item in errors), secrets)[:300]
            raise classify(numbers, text, lost)
        if content is None:
            raise _without_content(answer, lost, secrets)
        if not answer.ok:
            raise lost(f"slurmrestd answered {answer.status}", code=str(answer.status))
        return content

    def close(self) -> None:
        self._http.close()


def _refused(answer: Answer, secrets: tuple[str, ...]) -> ProviderError | None:
    """What slurmctld never saw, whoever says so: slurmrestd in plain text, or a gateway before it in words of its own.
    None: any other status, 502 to 504 too, may stand for a request that went through."""
    text, code = answer.one_line(secrets), str(answer.status)
    if answer.status in (401, 403):
        return Misconfigured(f"slurmrestd refuses the credentials: {text}", code=code)
    if answer.status == 404:
        return NoSuchPath("slurmrestd does not know the path", code=code)
    if answer.status == 429:
        return Unavailable("the gateway asks to slow down", retry_after_s=answer.retry_after_s, code=code)
    return None


def _without_content(answer: Answer, lost: type[ProviderError], secrets: tuple[str, ...]) -> ProviderError:
    if answer.status == 400:  # [T] plain text: "Unable to parse query."
        return Rejected(f"slurmrestd cannot read the request: {answer.one_line(secrets)}", code="400")
    return lost(f"slurmrestd answered {answer.status} without a readable body", code=str(answer.status))


def classify(numbers: list[int], text: str, lost: type[ProviderError]) -> ProviderError:
    """One error for the numbers in errors[]. -1 says nothing: the controller is down, or the token is not good."""
    code = ",".join(str(number) for number in numbers[:5])
    known = set(numbers)
    if known & _NO_SUCH_JOB:
        return NotFound("Slurm does not know this job", code=code)
    if known & _WRONG_ACCOUNT:
        return Misconfigured(f"Slurm refuses this account: {text}", code=code)
    if any(number in _CONTROLLER for number in numbers) and not known & _WRONG_REQUEST:
        return refusal(text, code=code)
    if known & _WRONG_REQUEST:
        return Rejected(f"slurmrestd cannot read the request: {text}", code=code)
    return lost(f"slurmrestd could not ask its controller, or the token is not valid: {text}", code=code)


def _content(answer: Answer) -> dict[str, Any] | None:
    try:
        content = answer.json()
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _number(error: Mapping[str, Any]) -> int:
    """`error_number` in some answers, `error_code` in others."""
    for name in ("error_number", "error_code"):
        value = whole(error.get(name))
        if value:
            return value
    return -1


def _describe(error: Mapping[str, Any]) -> str:
    parts = [error.get("error"), error.get("description")]
    return " ".join(" ".join(part.split()) for part in parts if isinstance(part, str) and part)


def _expiry(token: str) -> float | None:
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return None
    expires = claims.get("exp")
    return expires if isinstance(expires, int | float) else None  # a whole number may be too large for a float
