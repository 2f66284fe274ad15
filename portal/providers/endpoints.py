"""What an account's endpoint must be before anybody is asked: libraries end in errors of their own for the rest."""

from __future__ import annotations

from portal.providers.errors import Misconfigured


def refuse_no_host(host: str) -> None:
    """Raises Misconfigured for what no name server can be asked: no part, or one of more than 63 letters."""
    try:
        if host.encode("idna"):
            return
    except UnicodeError:
        pass
    raise Misconfigured("the endpoint has no host name that can be looked up")
