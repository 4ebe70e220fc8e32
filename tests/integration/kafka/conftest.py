from collections.abc import AsyncIterator, Iterator

import pytest

from deploy.stack import KafkaServer
from tests.integration.kafka.rig import Rig


@pytest.fixture
async def rig(kafka: str) -> AsyncIterator[Rig]:
    async with Rig.make(kafka) as made:
        yield made


@pytest.fixture
def pausable(kafka_server: KafkaServer) -> Iterator[KafkaServer]:
    yield kafka_server
    kafka_server.process.resume()
