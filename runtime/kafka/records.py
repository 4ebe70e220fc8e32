"""Kafka's records as workers see them: raw bytes, whatever they are.

FastStream's own parser decodes header values as UTF-8 and its decoder reads values by content type;
one bad record would take its whole batch down. Here nothing is decoded, so nothing can fail.
"""

from datetime import UTC, datetime
from typing import Any

from aiokafka import ConsumerRecord
from faststream.kafka.message import KafkaMessage

from runtime.batch import Received


def received(record: "ConsumerRecord[bytes | None, bytes | None]") -> Received:
    """A record as a worker sees it. A tombstone has the value b"", which no decoder takes."""
    return Received(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value or b"",
        headers=tuple((name, value or b"") for name, value in record.headers),
        timestamp=_time(record.timestamp),
    )


async def parse_batch(raw: Any) -> KafkaMessage:
    """The envelope that FastStream asks for, without reading a single header."""
    return KafkaMessage(body=b"", raw_message=raw, headers={}, consumer=_NoConsumer())


async def decode_batch(message: KafkaMessage) -> list[Any]:
    """The batch as it came. An exception here would be swallowed, so whatever can fail is left to the handler."""
    return list(message.raw_message)


def _time(milliseconds: int) -> datetime | None:
    # Producers may write any number; what is no time is no reason to refuse the record.
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds >= 0 else None
    except (ValueError, OverflowError, OSError):
        return None


class _NoConsumer:
    """Stands where FastStream keeps the consumer that `ack` and `nack` would use: we commit explicit offsets."""

    async def commit(self) -> None:
        raise AssertionError("offsets are committed by the batch, not by FastStream")

    def seek(self, partition: Any, offset: int) -> None:
        raise AssertionError("offsets are moved by Kafka alone")
