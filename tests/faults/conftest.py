"""The three providers for tests that start and kill processes of their own on the test's database; and a whole portal
for those that spoil its servers, one for all of a run's process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from portal.catalog.models import Offering
from portal.providers.base import Account
from tests.factories import OfferingFactory, PriceFactory, ProviderFactory
from tests.faults import recoveries
from tests.faults.stack import Stack
from tests.jobs.test_end_to_end import KINDS


@pytest.fixture
def offerings(emulator: Callable[[str], Account]) -> dict[str, Offering]:
    made = {}
    for kind, given in KINDS.items():
        facts = dict(given)
        provider = ProviderFactory(slug=facts.pop("slug"))
        made[kind] = OfferingFactory(provider=provider, site=None, adapter=kind, gpus_per_node=4, **facts)
        PriceFactory(offering=made[kind])
    return made


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("stack"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(autouse=True)
def _recoveries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recoveries, "noted", request.node.user_properties)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    properties = [one for report in terminalreporter.getreports("passed") for one in report.user_properties]
    for line in recoveries.told(properties):
        terminalreporter.write_line(line)
