"""Fixtures for tests of the page in a browser."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.browsing import Visit, chromium, visiting
from tests.end_to_end.fake_service import FakeService, Served, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser


# Not for the session: Playwright's synchronous API keeps an event loop running in the main thread until it is closed,
# and every asynchronous test that follows would find it there.
@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as started:
        yield started


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def server(service: FakeService) -> Iterator[Served]:
    with served(service.app()) as started:
        yield started


@pytest.fixture
def visit(browser: "Browser", server: Served) -> Iterator[Visit]:
    with visiting(browser, server.url) as visited:
        yield visited
