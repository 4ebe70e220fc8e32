"""Real servers as fixtures, one of each for a session, on ports and folders of its own."""

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from deploy.stack import KafkaServer, S3Server, start_kafka, start_versitygw
from deploy.stack.errors import MissingTool
from runtime.kafka.admin import ensure_topics
from runtime.settings import KafkaSettings
from schemas.topics import NOTIFICATIONS

T = TypeVar("T")


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A real broker that a test may pause; it must be running again when the test ends."""
    server = start_or_skip(lambda: start_kafka(tmp_path_factory.mktemp("kafka")))
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def kafka(kafka_server: KafkaServer) -> str:
    """The address of a real broker, for SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS."""
    return kafka_server.address


@pytest.fixture(scope="session")
def s3_server(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server whose notifications go onto the topic `bucket-notifications` of `kafka`."""
    import asyncio

    asyncio.run(ensure_topics(KafkaSettings(bootstrap_servers=kafka), [NOTIFICATIONS]))
    server = start_or_skip(lambda: start_versitygw(tmp_path_factory.mktemp("s3"), kafka))
    try:
        yield server
    finally:
        server.stop()


def start_or_skip(start: Callable[[], T]) -> T:
    """What `start` starts; without its program the test is skipped, and fails in continuous integration."""
    try:
        return start()
    except MissingTool as missing:
        # Without the server CI would prove nothing; on a developer's machine the other tests still count.
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
