"""Which adapter speaks for an account. The only file of the providers that reads Django's settings."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Mapping
from typing import Any, cast

from portal.providers.base import Account, Adapter
from portal.providers.errors import Misconfigured

# Kind -> where its class is. Imported when first needed: a web process needs no SSH library.
KINDS = {
    "sakura_dok": ("portal.providers.sakura_dok", "SakuraDok"),
    "slurm_rest": ("portal.providers.slurm_rest", "SlurmRest"),
    "slurm_ssh": ("portal.providers.slurm_ssh", "SlurmSsh"),
}

# What is asked on a timetable, by kind: asking only these, a worker never loads the others' libraries for nothing.
TELLS_PRICES = frozenset({"sakura_dok"})
TELLS_AVAILABILITY = frozenset({"slurm_rest"})
# Whose jobs send log and results themselves, to addresses that live for seven days, because nobody can fetch them.
SENDS_RESULTS = frozenset({"slurm_rest"})
# Who can fetch an image with a login, asked when a job is submitted.
TAKES_LOGINS = frozenset({"sakura_dok"})

# Who can change the limit of a job that runs, where the account has the right to: a page offers it.
GIVES_TIME = frozenset({"slurm_rest", "slurm_ssh"})

# How many jobs an account runs at once where the provider publishes a number; a contract may raise it. DOK's FAQ of
# 2024-10-10: one running task per user, more wait and start in turn.
CONCURRENT_LIMITS = {"sakura_dok": 1}

_lock = threading.Lock()
_adapters: dict[str, Adapter] = {}


def adapter_for(account: Account) -> Adapter:
    """The adapter of this account, the same one each time, so that its connections are used again. Thread-safe.

    An account whose credentials or options change is another account. Raises Misconfigured: unknown kind, credentials
    that lack something, or an emulator in production.
    """
    _refuse_pretence(account)
    identity = json.dumps(
        [account.kind, account.endpoint, dict(account.credentials), dict(account.options)], sort_keys=True
    )
    with _lock:
        adapter = _adapters.get(identity)
        if adapter is None:
            adapter = _adapters[identity] = make_adapter(account)
        return adapter


def close_all() -> None:
    """Give back all connections, as when a worker ends or forks."""
    with _lock:
        adapters = list(_adapters.values())
        _adapters.clear()
    for adapter in adapters:
        adapter.close()


def make_adapter(account: Account) -> Adapter:
    """One of its own, whose connections nobody shares; the caller closes it. Raises Misconfigured."""
    _refuse_pretence(account)
    if account.kind not in KINDS:
        raise Misconfigured(f"there is no adapter of the kind {account.kind!r}")
    return cast(Adapter, _class_of(account.kind)(account))


def option_names(kind: str) -> frozenset[str]:
    """What may stand in the options of an account of this kind."""
    return cast(frozenset[str], _class_of(kind).option_names)


def gives_time(kind: str, options: Mapping[str, Any]) -> bool:
    """Whether an account's running jobs can be given more time."""
    return kind in GIVES_TIME and options.get("raises_limits") == "true"


def _class_of(kind: str) -> Any:
    module, name = KINDS[kind]
    return getattr(importlib.import_module(module), name)


def _refuse_pretence(account: Account) -> None:
    from django.conf import settings

    if account.options.get("emulated") == "true" and settings.PORTAL_MODE == "production":
        raise Misconfigured("this account is a pretend provider: it is for demos, not for production")
