from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.providers.file_server import FileServer

# On a busy machine drawing values takes its time, which is no fault of what is tested.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


@pytest.fixture(scope="module")
def store() -> Iterator[FileServer]:
    server = FileServer()
    yield server
    server.close()
