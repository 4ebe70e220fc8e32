"""Fixtures for every test."""

import logging
from collections.abc import Iterator

import pytest

import runtime.sleeping_threads  # noqa: F401 - before numpy and torch
from tests.servers import kafka, kafka_server, s3_server

__all__ = ["kafka", "kafka_server", "s3_server"]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Commands that run inside a test configure the process's logs; the next test must not feel it."""
    root = logging.getLogger()
    handlers, level, disabled = root.handlers[:], root.level, root.manager.disable
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.disable(disabled)
