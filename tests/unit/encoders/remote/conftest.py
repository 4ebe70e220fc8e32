from collections.abc import Iterator

import pytest

from tests.unit.encoders.remote.service import FakeClock, Service, running


@pytest.fixture
def service() -> Iterator[Service]:
    with running(Service()) as one:
        yield one


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
