"""Reading the dead letters that stages wrote, for a person."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from runtime.kafka.connection import client_options, topic_name
from runtime.kafka.records import received
from runtime.settings import KafkaSettings
from schemas.codec import decode_dead_letter
from schemas.dead_letter import DeadLetter
from schemas.errors import DependencyUnavailable, UndecodableRecord
from schemas.topics import DEAD_LETTERS


@dataclass(frozen=True)
class StoredDeadLetter:
    """A dead letter and where it stands on the dead letters' topic."""

    topic: str
    partition: int
    offset: int
    letter: DeadLetter

    @property
    def id(self) -> str:
        """Names the letter on the command line."""
        return f"{self.partition}/{self.offset}"


async def read_dead_letters(settings: KafkaSettings, limit: int | None = None) -> AsyncIterator[StoredDeadLetter]:
    """The letters that stand on the topic now, oldest first within each partition; then it stops.

    Belongs to no group and commits nothing, so reading changes nothing. At most `limit` letters.
    Records that are no dead letters are passed over. Raises `DependencyUnavailable` when Kafka is away.
    """
    topic = topic_name(settings, DEAD_LETTERS.name)
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False, auto_offset_reset="earliest")
    given = 0
    try:
        await consumer.start()
        remaining = await _ends(consumer, topic)
        consumer.assign(list(remaining))
        while remaining and (limit is None or given < limit):
            for partition, records in (await consumer.getmany(timeout_ms=500)).items():
                for record in records:
                    if limit is not None and given >= limit:
                        break
                    if record.offset >= remaining.get(partition, 0):
                        break
                    came = received(record)
                    try:
                        letter = decode_dead_letter(came.value, came.headers)
                    except UndecodableRecord:
                        continue
                    given += 1
                    yield StoredDeadLetter(came.topic, came.partition, came.offset, letter)
            for partition, end in list(remaining.items()):
                # The position, not the last record, tells the end: a topic may end in gaps.
                if await consumer.position(partition) >= end:
                    del remaining[partition]
    except KafkaError as error:
        raise DependencyUnavailable(
            "kafka",
            f"the dead letters on {topic} could not be read ({error!r})",
            f"Look at the brokers at {settings.bootstrap_servers} and at SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS",
        ) from error
    finally:
        await consumer.stop()


async def _ends(consumer: AIOKafkaConsumer, topic: str) -> dict[TopicPartition, int]:
    await consumer._client.force_metadata_update()
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    if not partitions:
        return {}
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    return {partition: end for partition, end in ends.items() if end > begins[partition]}
