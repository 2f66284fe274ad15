"""What can go wrong between the portal and a provider: one class for each decision the caller has to make.

`summary` is one line for operators and the job's events; it never holds credentials or a whole body.
"""

from __future__ import annotations


class ProviderError(Exception):
    """The provider did not do what was asked."""

    def __init__(self, summary: str, *, code: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.code = code  # the provider's own word or number for it, for the record


class Rejected(ProviderError):
    """The provider read the request and refused it: asking the same again is useless.

    `failure` is one of portal.jobs.states.FailureClass's values, as a plain word
    ("no_capacity", "image", "access_refused", "portal_fault", "over_budget").
    """

    def __init__(self, summary: str, *, failure: str = "portal_fault", code: str = "") -> None:
        super().__init__(summary, code=code)
        self.failure = failure


class Unavailable(ProviderError):
    """The request certainly had no effect (no connection, refused before it was read, 429): ask again later."""

    def __init__(self, summary: str, *, retry_after_s: float | None = None, code: str = "") -> None:
        super().__init__(summary, code=code)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(ProviderError):
    """The request may have had its effect (time-out, reset, 5xx, unreadable answer): look before repeating."""


class NotFound(ProviderError):
    """The provider answered, and does not know this job (yet, or any more)."""


class Misconfigured(ProviderError):
    """Credentials or settings of this account do not work (401, 403, unknown partition): an operator must act."""
