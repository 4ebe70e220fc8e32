"""How far behind: records and seconds per partition, also where nothing moves.

Records: the end offset, asked of the broker, less the committed offset.

Seconds: the age of the oldest uncommitted record. Where that record is in hand its timestamp is known.
Elsewhere reading it would cost a fetch of its own, so its arrival is bounded by observation: it came
after the last look at which the end offset was not beyond the committed one. Each look is remembered
until the commits pass it, so a standing backlog shows its age since it was first seen; directly after
an assignment that is less than the truth, until the partition's first batch is in hand.
"""

import time
from collections import deque
from collections.abc import Iterable, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from runtime.kafka.lane import Lane
from runtime.kafka.metrics import KafkaMetrics

_LOOKS = 512
"""Looks remembered for each partition; at one in ten seconds well over an hour."""


class LagWatch:
    """Refreshes the lag metrics of a consumer's lanes."""

    def __init__(self, topic: str, lanes: Sequence[Lane], metrics: KafkaMetrics) -> None:
        self._topic = topic
        self._lanes = lanes
        self._metrics = metrics
        self._looks: dict[TopicPartition, deque[tuple[float, int]]] = {}
        self._shown: set[TopicPartition] = set()
        self._expired: dict[TopicPartition, int] = {}
        self.records: dict[TopicPartition, int] = {}
        """The lag in records at the last refresh, for `sightline status`."""
        self.seconds: dict[TopicPartition, float] = {}
        """The lag in seconds at the last refresh."""

    async def refresh(self) -> None:
        """Ask for the end of every assigned partition. A broker that is away leaves the last values standing."""
        assigned: set[TopicPartition] = set()
        for lane in self._lanes:
            consumer = lane.consumer
            if consumer is None:
                continue
            partitions = list(consumer.assignment())
            assigned |= set(partitions)
            try:
                await self._refresh_lane(lane, consumer, partitions)
            except (KafkaError, IllegalStateError):
                continue
        self._metrics.assigned.labels(self._topic).set(len(assigned))
        self._forget(self._shown - assigned)
        self._shown = assigned

    async def _refresh_lane(self, lane: Lane, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        if not partitions:
            return
        # Before the ends are asked for: what is committed meanwhile must not make the lag negative.
        committed = {one: await self._committed(lane, consumer, one) for one in partitions}
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        in_hand = lane.batch.oldest() if lane.batch is not None else {}
        now = time.time()
        for partition in partitions:
            position = committed[partition]
            self._count_expired(partition, position, begins[partition])
            done = max(position or 0, begins[partition])
            lag = max(0, ends[partition] - done)
            since = self._since(partition, done, ends[partition], now)
            stamp = in_hand.get(partition)
            if stamp is not None:
                since = stamp.timestamp()
            labels = (self._topic, str(partition.partition))
            self.records[partition] = lag
            self.seconds[partition] = max(0.0, now - since) if lag else 0.0
            self._metrics.lag_records.labels(*labels).set(lag)
            self._metrics.lag_seconds.labels(*labels).set(self.seconds[partition])

    async def _committed(self, lane: Lane, consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
        known = lane.committed.get(partition)
        return known if known is not None else await consumer.committed(partition)

    def _since(self, partition: TopicPartition, done: int, end: int, now: float) -> float:
        looks = self._looks.setdefault(partition, deque(maxlen=_LOOKS))
        looks.append((now, end))
        # The newest look that saw nothing beyond what is done bounds the arrival of what is not.
        while len(looks) > 1 and looks[1][1] <= done:
            looks.popleft()
        return looks[0][0]

    def _count_expired(self, partition: TopicPartition, committed: int | None, begin: int) -> None:
        # Retention overtook the group: those records are gone, and only reconcile knows what they said.
        if committed is None or begin <= committed:
            return
        new = begin - max(committed, self._expired.get(partition, committed))
        if new > 0:
            self._metrics.expired.labels(self._topic).inc(new)
            self._expired[partition] = begin

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            labels = (self._topic, str(partition.partition))
            self._metrics.lag_records.remove(*labels)
            self._metrics.lag_seconds.remove(*labels)
            for kept in (self._looks, self.records, self.seconds):
                kept.pop(partition, None)
