"""Bounded queues within one process: the transport of embedded mode.

A topic has lanes as a Kafka topic has partitions: a record's key decides its lane, each lane is
worked on by one consumer task at a time, so the records of one object stay in order and never
overlap. What embedded mode does not have: durable offsets. A restart compares bucket and index instead.
"""

import asyncio
import time
import zlib
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry

from runtime.backlog import CLEARS, NOW, Backlog
from runtime.batch import Received
from runtime.metrics import Metric, MetricKind
from runtime.retry import BatchAbandoned
from runtime.waiting import Waiting
from runtime.worker import Worker
from schemas.codec import Message

CAPACITY = 2_000
"""Records that a topic usually holds before its publishers wait; a vector of 512 numbers takes 2 kB."""

QUEUE_RECORDS = Metric(
    name="sightline_queue_records",
    kind=MetricKind.GAUGE,
    labels=("topic", "partition"),
    sentence="Records of an in-process queue that are not done yet, by lane; embedded mode's lag.",
)
QUEUE_SECONDS = Metric(
    name="sightline_queue_seconds",
    kind=MetricKind.GAUGE,
    labels=("topic", "partition"),
    sentence="Age of the oldest record of an in-process queue that is not done yet, by lane.",
)


class _Lane:
    """One bounded queue, and the batch that was taken from it and is not done yet."""

    def __init__(self, capacity: int) -> None:
        self._waiting: deque[Received] = deque()
        self._in_hand: list[Received] = []
        self._capacity = capacity
        self._changed = asyncio.Condition()

    async def put(self, record: Received) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._waiting) < self._capacity)
            self._waiting.append(record)
            self._changed.notify_all()

    async def take(self, most: int, stop: asyncio.Event, *, drain: bool) -> Sequence[Received]:
        """Up to `most` records, at least one; none once `stop` is set (and, to drain, nothing waits)."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._in_hand or self._waiting or stop.is_set())
            if stop.is_set() and not (drain and (self._in_hand or self._waiting)):
                return ()
            if not self._in_hand:
                self._in_hand = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
                self._changed.notify_all()
            return tuple(self._in_hand)

    def done(self) -> int:
        count = len(self._in_hand)
        self._in_hand = []
        return count

    async def wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def length(self) -> int:
        return len(self._in_hand) + len(self._waiting)

    def age(self) -> float:
        oldest = self._in_hand[0] if self._in_hand else self._waiting[0] if self._waiting else None
        if oldest is None or oldest.timestamp is None:
            return 0.0
        return max(0.0, (datetime.now(UTC) - oldest.timestamp).total_seconds())


class InProcessTopic:
    """A named set of lanes. `capacity` bounds the waiting records of all lanes together; publishers wait for room."""

    def __init__(self, name: str, *, lanes: int, capacity: int) -> None:
        self.name = name
        self.lanes = [_Lane(max(1, capacity // lanes)) for _ in range(lanes)]
        self._offsets = [0] * lanes
        self._unfinished = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def publisher(self) -> "InProcessPublisher":
        """A publisher to this topic."""
        return InProcessPublisher(self)

    @property
    def unfinished(self) -> int:
        """Records that were published and are not done."""
        return self._unfinished

    @property
    def published(self) -> int:
        """Records that were published since the topic was made."""
        return sum(self._offsets)

    async def idle(self) -> None:
        """Return when every published record is done."""
        await self._idle.wait()

    async def put(self, message: Message) -> None:
        """Append a record to the lane of its key; waits while the lane is full."""
        lane = zlib.crc32(message.key or b"") % len(self.lanes)
        offset = self._offsets[lane]
        self._offsets[lane] += 1
        self._unfinished += 1
        self._idle.clear()
        record = Received(
            topic=self.name,
            partition=lane,
            offset=offset,
            key=message.key,
            value=message.value,
            headers=message.headers,
            timestamp=datetime.now(UTC),
        )
        try:
            await self.lanes[lane].put(record)
        except BaseException:  # cancelled while the lane was full
            self.finished(1)
            raise

    def finished(self, count: int) -> None:
        """Count records as done."""
        self._unfinished -= count
        if self._unfinished == 0:
            self._idle.set()


class InProcessPublisher:
    """Publishes to an in-process topic; a full lane makes it wait, which is all the back-pressure there is."""

    def __init__(self, topic: InProcessTopic) -> None:
        self._topic = topic

    async def publish(self, messages: Sequence[Message]) -> None:
        """Put each message into the lane of its key, in order."""
        for message in messages:
            await self._topic.put(message)


class _LaneBatch:
    """A batch from one lane. It is abandoned once the consumer is told to stop: a wait must not outlive the process."""

    def __init__(self, topic: InProcessTopic, lane: _Lane, records: Sequence[Received], stop: asyncio.Event) -> None:
        self.records = records
        self._topic = topic
        self._lane = lane
        self._stop = stop

    @property
    def abandoned(self) -> bool:
        return self._stop.is_set()

    async def done(self) -> None:
        self._topic.finished(self._lane.done())


class InProcessConsumer:
    """Runs a worker over every lane of a topic, one batch per lane at a time.

    With `drain`, a stop lets it first finish all that waits; otherwise only the batches in hand.
    """

    def __init__(
        self, topic: InProcessTopic, worker: Worker[Any], *, batch_records: int = 64, drain: bool = False
    ) -> None:
        self._topic = topic
        self._worker = worker
        self._batch_records = batch_records
        self._drain = drain
        self._running = False
        worker.batches_of(batch_records)

    @property
    def not_ready(self) -> str | None:
        """Why it takes no records; None when it does."""
        return None if self._running else "it does not run"

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set. Raises whatever the worker raises, after the other lanes were cancelled.

        A batch that was not done is offered again, first, by the next `run`.
        """
        self._running = True
        try:
            async with asyncio.TaskGroup() as tasks:
                waker = tasks.create_task(self._wake_lanes(stop))
                lanes = [tasks.create_task(self._consume(lane, stop)) for lane in self._topic.lanes]
                await asyncio.gather(*lanes)
                waker.cancel()
        finally:
            self._running = False

    async def _consume(self, lane: _Lane, stop: asyncio.Event) -> None:
        waiting = Waiting(self._worker.waited)
        try:
            waiting.begin()
            while records := await lane.take(self._batch_records, stop, drain=self._drain):
                waiting.end()
                await self._worker.handle(_LaneBatch(self._topic, lane, records, stop))
                waiting.begin()
        except BatchAbandoned:
            return
        finally:
            waiting.end()

    async def _wake_lanes(self, stop: asyncio.Event) -> None:
        await stop.wait()
        for lane in self._topic.lanes:
            await lane.wake()


class QueueMetrics:
    """Shows the lag of in-process topics in a registry, computed when it is asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._records = QUEUE_RECORDS.gauge(registry)
        self._seconds = QUEUE_SECONDS.gauge(registry)

    def watch(self, topic: InProcessTopic) -> None:
        """Show every lane of a topic."""
        for number, lane in enumerate(topic.lanes):
            self._records.labels(topic.name, number).set_function(lane.length)
            self._seconds.labels(topic.name, number).set_function(lane.age)

    def watch_backlog(self, topic: InProcessTopic) -> None:
        """Show when a topic is done. One process has one model: there is no other embedder to add."""
        backlog = Backlog()

        def clears() -> float:
            # The rates are taken between the times that somebody asks.
            came = topic.published
            backlog.look(time.monotonic(), came=came, done=came - topic.unfinished)
            return backlog.clears()

        CLEARS.gauge(self._registry).labels(NOW).set_function(clears)
