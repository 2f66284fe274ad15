"""The variables that point Django at the servers of a start. What the user has set wins.

A server is left out when its address is in the environment already: that is also how production runs, with every
address given.
"""

import os
from collections.abc import Mapping

from portal.launcher import services
from portal.launcher.definitions import Definition
from portal.launcher.errors import CannotContinue
from portal.launcher.state_folder import StateFolder

MODES = ("demo", "test", "production")
PRODUCTION_NEEDS = (
    "SECRET_KEY",
    "CREDENTIALS_KEYS",
    "INSTALLATION_ID",
    "PORTAL_URL",
    "DATABASE_URL",
    "BROKER_URL",
    "S3_ENDPOINT",
    "EMAIL_URL",
    "DEFAULT_FROM_EMAIL",
)


def check(given: Mapping[str, str] = os.environ) -> None:
    """Raises CannotContinue when the variables do not fit together."""
    mode = given.get("PORTAL_MODE", "demo")
    if mode not in MODES:
        raise CannotContinue("no_such_mode", mode=mode)
    if mode == "production":
        missing = [name for name in PRODUCTION_NEEDS if not given.get(name)]
        if given.get("BROKER_URL") and not _has_cache(given):
            missing.append("CACHE_URL")
        if missing:
            raise CannotContinue("production_needs", names=", ".join(missing))
    if given.get("S3_ENDPOINT"):
        missing = [name for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY") if not given.get(name)]
        if missing:
            raise CannotContinue("s3_needs_keys", names=", ".join(missing))


def embedded_services(state: StateFolder, given: Mapping[str, str] = os.environ) -> list[Definition]:
    """Those whose address the environment does not give."""
    needed = []
    if not given.get("S3_ENDPOINT"):
        needed.append(services.s3(state.s3, log=state.logs / "s3.log"))
        if not given.get("STORAGE_SITES"):
            needed.append(services.s3_copies(state.s3_copies, log=state.logs / "s3copies.log"))
    if not (given.get("BROKER_URL") and _has_cache(given)):
        needed.append(services.valkey(state.valkey, log=state.logs / "valkey.log"))
    if not given.get("DATABASE_URL"):
        needed.append(services.postgres(state.postgres, log=state.logs / "postgres.log"))
    return needed


def _has_cache(given: Mapping[str, str]) -> bool:
    # A broker that speaks Redis can be the cache too; RabbitMQ cannot.
    return bool(given.get("CACHE_URL") or given.get("BROKER_URL", "").startswith("redis"))


def for_django(state: StateFolder, *, url: str, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Nothing before the first start: there are no servers yet."""
    own = state.remembered()
    if own is None:
        return {}
    variables = {
        "PORTAL_MODE": "demo",
        "PORTAL_DATA": str(state.path),
        "PORTAL_URL": url,
        "SECRET_KEY": own.secret_key,
        "CREDENTIALS_KEYS": own.credentials_keys,
        "INSTALLATION_ID": own.installation_id,
        "EMULATORS_DIR": str(state.emulators),
    }
    for definition in embedded_services(state, given):
        variables.update(definition.environment)
    return variables | {name: given[name] for name in variables if given.get(name)}
