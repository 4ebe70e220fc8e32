"""The lag of groups, asked in the background: what is told while brokers answer, refuse, or are away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError

from runtime.kafka.group_lag import KNOWN_SECONDS, CountRecords, GroupLag
from runtime.log import Log
from runtime.settings import KafkaSettings


class Cluster:
    """Gives some answers, one for each look, and then none for ever."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.silent = asyncio.Event()
        self.opened = 0
        self.now = 0.0
        self.lag = GroupLag(
            {},
            KafkaSettings(bootstrap_servers="nowhere:9092"),
            log=Log("test.lag"),
            open_counter=self.open,
            refresh_seconds=0.001,
            clock=lambda: self.now,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[CountRecords]:
        self.opened += 1
        yield self.count

    async def count(self) -> int:
        if not self.answers:
            self.silent.set()
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def asked(self) -> None:
        """Run until the last answer was given; the stop must end a look that nobody answers."""
        stop = asyncio.Event()
        running = asyncio.create_task(self.lag.run(stop))
        async with asyncio.timeout(5):
            await self.silent.wait()
            stop.set()
            await running


async def test_the_last_answer_is_told_until_it_is_old() -> None:
    cluster = Cluster(4, 3)
    await cluster.asked()
    assert (cluster.lag.records, cluster.opened) == (3, 1)
    cluster.now = KNOWN_SECONDS + 1
    assert cluster.lag.records is None, "nobody knows by now"


async def test_a_broker_that_is_away_or_refuses_costs_the_number_alone(caplog: pytest.LogCaptureFixture) -> None:
    refused = GroupAuthorizationFailedError("sightline-embedder")
    cluster = Cluster(KafkaConnectionError(), KafkaConnectionError(), refused, TimeoutError(), 5)
    await cluster.asked()
    assert cluster.lag.records == 5
    assert cluster.opened == 5, "clients that failed are replaced"
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3, "each reason once"
    assert "let this user describe the topics and the groups" in told[1]


async def test_a_bug_ends_the_component() -> None:
    with pytest.raises(ZeroDivisionError):
        await Cluster(ZeroDivisionError()).lag.run(asyncio.Event())
