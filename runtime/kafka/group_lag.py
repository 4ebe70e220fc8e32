"""How far behind the groups of a pipeline are, as a process sees it that is a member of none of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from runtime.kafka.connection import client_options, group_name, topic_name
from runtime.kafka.lag import ANSWER_SECONDS
from runtime.lifecycle import given_up_on
from runtime.log import Log
from runtime.settings import KafkaSettings
from schemas.topics import TopicSpec

REFRESH_SECONDS = 15.0
KNOWN_SECONDS = 4 * REFRESH_SECONDS
"""What was seen longer ago is not told any more."""

CountRecords = Callable[[], Awaitable[int]]
"""Asks a broker for the records that no group has done yet. Raises `KafkaError`."""


class GroupLag:
    """The records between the committed offsets of several groups and the ends of their topics.

    `groups` says which topic each group reads. A broker is asked every 15 s, in the background.
    """

    def __init__(
        self,
        groups: Mapping[str, TopicSpec],
        settings: KafkaSettings,
        *,
        log: Log,
        open_counter: Callable[[], AbstractAsyncContextManager[CountRecords]] | None = None,
        refresh_seconds: float = REFRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = open_counter or (lambda: counter(groups, settings))
        self._log = log
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._seen: tuple[float, int] | None = None
        self._unknown = ""

    @property
    def records(self) -> int | None:
        """How many records wait; None where no broker told that within the last minute."""
        if self._seen is None or self._clock() - self._seen[0] > KNOWN_SECONDS:
            return None
        return self._seen[1]

    async def run(self, stop: asyncio.Event) -> None:
        """Ask again and again until `stop`. A broker that is away or refuses costs the number, and nothing else."""
        async with given_up_on(stop):
            await self._ask()

    async def _ask(self) -> None:
        while True:
            try:
                async with self._open() as count:
                    while True:
                        async with asyncio.timeout(ANSWER_SECONDS):
                            records = await count()
                        self._seen = (self._clock(), records)
                        self._unknown = ""
                        await asyncio.sleep(self._refresh_seconds)
            except (KafkaError, TimeoutError) as error:
                self._tell(error)
            await asyncio.sleep(self._refresh_seconds)

    def _tell(self, error: Exception) -> None:
        # Once for each reason: it is asked again for as long as the process runs.
        if type(error).__name__ == self._unknown:
            return
        self._unknown = type(error).__name__
        self._log.warning(
            "lag_unknown",
            f"Kafka does not tell how many records wait ({error!r}), so /v1/status does not either. It has to be there "
            "and let this user describe the topics and the groups of embedder and indexer",
        )


@asynccontextmanager
async def counter(groups: Mapping[str, TopicSpec], settings: KafkaSettings) -> AsyncIterator[CountRecords]:
    """What counts the records that wait for these groups, while the context is open.

    It joins no group and reads no record. Raises `KafkaError` where no broker answers.
    """
    named = {group_name(settings, group): topic_name(settings, topic.name) for group, topic in groups.items()}
    admin = AIOKafkaAdminClient(**client_options(settings))
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False)

    async def count() -> int:
        return sum([await _waiting(admin, consumer, group, topic) for group, topic in named.items()])

    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await admin.start()
            await consumer.start()
        yield count
    finally:
        await consumer.stop()
        await admin.close()


async def _waiting(admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, group: str, topic: str) -> int:
    # Of all topics, since asking for one that is missing may make it.
    known = await consumer._client.fetch_all_metadata()
    partitions = [TopicPartition(topic, number) for number in known.partitions_for_topic(topic) or ()]
    if not partitions:
        raise KafkaError(f"there is no topic {topic}")
    # Before the ends are asked for: what is committed meanwhile must not make the lag negative.
    committed = await admin.list_consumer_group_offsets(group, partitions=partitions)
    if set(committed) != set(partitions):
        # An answer that says only that it failed has no partitions, and the client passes it on without a word.
        raise KafkaError(f"the group {group} did not tell all its offsets")
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    return sum(max(0, ends[one] - max(committed[one].offset, begins[one])) for one in partitions)
