"""The consumer under FastStream, with two of its silences given a voice.

FastStream logs a failed fetch, sleeps and tries again for ever: wrong credentials or a missing codec
look like an empty topic. And aiokafka decodes header *names* as UTF-8 while it unpacks a fetch: one
bad name raises in the middle, its partition stands still for ever, and what the same call had taken
from other partitions is lost, since their positions have moved. `WatchedConsumer` reports the first
and repairs the second.
"""

import asyncio
from functools import partial
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError
from faststream.kafka import KafkaBroker

UNREADABLE = "sightline-unreadable"
"""Header of the record that stands for one that Kafka's own format could not be read of."""

Records = dict[TopicPartition, list["ConsumerRecord[bytes | None, bytes | None]"]]


class FetchWatch(Protocol):
    """Who is told how fetching goes."""

    def fetched(self) -> None:
        """A fetch was answered, perhaps with nothing."""
        ...

    def fetch_failed(self, error: Exception) -> None:
        """A fetch failed; it will be tried again."""
        ...

    def unreadable(self, topic: str, partition: int, offset: int, error: Exception) -> None:
        """A record could not be unpacked; one without key and value stands for it."""
        ...


class WatchedConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer, whose failures reach `watch`, and which passes unreadable records one at a time."""

    def __init__(self, *topics: str, watch: FetchWatch, **options: Any) -> None:
        super().__init__(*topics, **options)
        self._watch = watch
        self._assignment_seen: object = None
        self._delivered: dict[TopicPartition, int] = {}
        self._one_at_a_time = False

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> Records:
        """Records by partition, as aiokafka's own method."""
        self._forget_old_assignment()
        try:
            if self._one_at_a_time:
                records = await self._carefully(timeout_ms)
            else:
                records = await super().getmany(*partitions, timeout_ms=timeout_ms, max_records=max_records)
        except UnicodeDecodeError:
            await self._rewind()
            self._one_at_a_time = True
            return {}
        except ConsumerStoppedError:
            raise
        except Exception as error:
            self._watch.fetch_failed(error)
            raise
        self._watch.fetched()
        self._forget_old_assignment()
        for partition, batch in records.items():
            self._delivered[partition] = batch[-1].offset + 1
        return records

    async def _carefully(self, timeout_ms: int) -> Records:
        # At most one record of each partition, so that an unreadable one takes no other with it.
        found: Records = {}
        for partition in self.assignment():
            try:
                found |= await super().getmany(partition, timeout_ms=0, max_records=1)
            except UnicodeDecodeError as error:
                offset = await self.position(partition)
                self.seek(partition, offset + 1)
                self._watch.unreadable(partition.topic, partition.partition, offset, error)
                found[partition] = [_stand_in(partition, offset, error)]
                self._one_at_a_time = False
        if not found:
            await asyncio.sleep(timeout_ms / 1000)
        return found

    async def _rewind(self) -> None:
        for partition in self.assignment():
            delivered = self._delivered.get(partition)
            if delivered is None:
                delivered = await self.committed(partition)
            if delivered is None:
                await self.seek_to_beginning(partition)
            else:
                self.seek(partition, delivered)

    def _forget_old_assignment(self) -> None:
        subscription = self._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        if assignment is not self._assignment_seen:
            self._assignment_seen = assignment
            self._delivered.clear()


class WatchedBroker(KafkaBroker):
    """FastStream's broker with `WatchedConsumer` in place of aiokafka's own."""

    def __init__(self, *arguments: Any, watch: FetchWatch, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._watch = watch

    async def _connect(self) -> Any:
        builder: Any = await super()._connect()
        self.config.broker_config.builder = partial(WatchedConsumer, watch=self._watch, **builder.keywords)
        return self.config.broker_config.builder


def _stand_in(partition: TopicPartition, offset: int, error: Exception) -> "ConsumerRecord[bytes | None, bytes | None]":
    return ConsumerRecord(
        topic=partition.topic,
        partition=partition.partition,
        offset=offset,
        timestamp=-1,
        timestamp_type=0,
        key=None,
        value=None,
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=[(UNREADABLE, f"a header's name is not UTF-8: {error}".encode())],
    )
