"""What transports make and workers handle: records as they came, in a batch that can be marked done."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from schemas.codec import Message
from schemas.headers import Headers


@dataclass(frozen=True)
class Received:
    """A record as it came. Together topic, partition and offset identify it; `timestamp` is the transport's."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Headers = ()
    timestamp: datetime | None = None

    @property
    def id(self) -> str:
        """Identifies the record within its batch and in logs."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Batch(Protocol):
    """Records that are worked on together."""

    @property
    def records(self) -> Sequence[Received]:
        """The records, in order within each partition."""
        ...

    @property
    def abandoned(self) -> bool:
        """True once the records belong to someone else (a rebalance): stop retrying, leave it undone."""
        ...

    async def done(self) -> None:
        """Mark every record done. Called once, last; a batch that is not done is delivered again."""
        ...


class Publisher(Protocol):
    """Sends messages to one topic."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return only when every message is acknowledged; order is kept per key.

        Raises `schemas.errors.DependencyUnavailable` when the transport is away; any part of the
        messages may then have been sent, and all will be sent again.
        """
        ...
