"""Following one image from its notification to its point, as far as a stage has to know of it.

Trace context travels in the records' headers, on Kafka as in the queues of one process, whether or not anything is
traced: so a trace is not broken by a service that traces nothing. `runtime.otel` makes spans; it alone knows
OpenTelemetry, and is loaded only where traces have somewhere to go. See docs/decisions/0025.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Protocol, Self

from runtime.batch import Publisher, Received
from runtime.in_hand import InHand
from runtime.stage import Outcome
from schemas.codec import Message
from schemas.headers import TRACEPARENT, child_traceparent, known_traceparent, new_traceparent, trace_id


class BatchTrace(Protocol):
    """A batch that is being worked on."""

    @property
    def trace_id(self) -> str:
        """For the batch's line in the log: 32 hexadecimal digits."""
        ...

    def traceparent(self, record: Received) -> bytes:
        """The trace context of what follows from a record of the batch."""
        ...

    def finished(self, outcomes: Mapping[str, Outcome]) -> None:
        """The batch was marked done."""
        ...


class Tracing(Protocol):
    """What a process does about traces. An async context manager, left last."""

    async def __aenter__(self) -> Self:
        """Nothing is lost by a collector that is away: what is not taken is dropped."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is left, within a few seconds."""
        ...

    def batch(self, stage: str, hand: InHand) -> AbstractContextManager[BatchTrace]:
        """Follow a batch through a stage."""
        ...

    def beginning(self, publisher: Publisher) -> Publisher:
        """A publisher whose messages begin traces: of hints that no notification caused."""
        ...


class Untraced:
    """Nothing is traced; trace context is passed on."""

    async def __aenter__(self) -> Self:
        """Nothing to begin."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to send."""

    @contextmanager
    def batch(self, stage: str, hand: InHand) -> Iterator["UntracedBatch"]:
        """Pass trace context on."""
        yield UntracedBatch(hand.records)

    def beginning(self, publisher: Publisher) -> Publisher:
        """The same publisher: `schemas.codec.encode` gives each message a trace of its own."""
        return publisher


class UntracedBatch:
    """Trace context alone: what follows from a record has its trace id, or a new one for all that follows from it."""

    def __init__(self, records: Sequence[Received]) -> None:
        self._first = records[0]
        self._begun: dict[str, bytes] = {}

    @property
    def trace_id(self) -> str:
        """That of the first record."""
        return trace_id(self._context(self._first))

    def traceparent(self, record: Received) -> bytes:
        """A child of the record's context."""
        return child_traceparent(((TRACEPARENT, self._context(record)),))

    def finished(self, outcomes: Mapping[str, Outcome]) -> None:
        """Nothing to note."""

    def _context(self, record: Received) -> bytes:
        known = known_traceparent(record.headers) or self._begun.get(record.id)
        if known is None:
            known = self._begun[record.id] = new_traceparent()
        return known


def with_traceparent(message: Message, traceparent: bytes) -> Message:
    """The message with another trace context."""
    others = tuple(one for one in message.headers if one[0] != TRACEPARENT)
    return Message(message.key, message.value, (*others, (TRACEPARENT, traceparent)))
