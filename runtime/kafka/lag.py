"""How far behind: records and seconds per partition, also where nothing moves.

Records: the end offset, asked of the broker, less the committed offset.

Seconds: the age of the oldest uncommitted record. Where that record is in hand its timestamp is known.
Elsewhere reading it would cost a fetch of its own, so its arrival is bounded by observation: it came
after the last look at which the end offset was not beyond the committed one. Each look is remembered
until the commits pass it, so a standing backlog shows its age since it was first seen; directly after
an assignment that is less than the truth, until the partition's first batch is in hand.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from runtime.backlog import NOW, ONE_MORE, Backlog
from runtime.kafka.lane import Lane
from runtime.kafka.metrics import KafkaMetrics

ANSWER_SECONDS = 10.0
"""A broker that does not answer within so long counts as away."""
_LOOKS = 512
"""Looks remembered for each partition; at one in ten seconds well over an hour."""


class LagWatch:
    """Refreshes the lag metrics of a consumer's lanes."""

    def __init__(self, topic: str, lanes: Sequence[Lane], metrics: KafkaMetrics, *, tell_backlog: bool = False) -> None:
        self._topic = topic
        self._backlog = Backlog() if tell_backlog else None
        self._lanes = lanes
        self._metrics = metrics
        self._looks: dict[TopicPartition, deque[tuple[float, int]]] = {}
        self._shown: set[TopicPartition] = set()
        self._expired: dict[TopicPartition, int] = {}
        self.records: dict[TopicPartition, int] = {}
        """The lag in records at the last refresh, for `sightline status`."""
        self.seconds: dict[TopicPartition, float] = {}
        """The lag in seconds at the last refresh."""
        self.answered = True
        """Whether a broker answered any consumer at the last refresh."""
        self._ends: dict[TopicPartition, int] = {}

    async def refresh(self) -> None:
        """Ask for the end of every assigned partition. A broker that is away leaves the last values standing."""
        assigned: set[TopicPartition] = set()
        asked = []
        for lane in self._lanes:
            consumer = lane.consumer
            if consumer is None:
                continue
            partitions = list(consumer.assignment())
            assigned |= set(partitions)
            asked.append(self._answers(lane, consumer, partitions))
        answers = await asyncio.gather(*asked)
        self.answered = any(answers) or not answers
        self._metrics.assigned.labels(self._topic).set(len(assigned))
        self._forget(self._shown - assigned)
        if self._backlog is not None:
            self._tell_backlog(self._backlog, assigned)
        self._shown = assigned

    async def _answers(self, lane: Lane, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> bool:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if not partitions:
                    # A member without partitions has nothing to ask for, and still should know that it is cut off.
                    return bool(await consumer._client.force_metadata_update())
                await self._refresh_lane(lane, consumer, partitions)
        except (KafkaError, IllegalStateError, TimeoutError):
            return False
        return True

    def _tell_backlog(self, backlog: Backlog, assigned: set[TopicPartition]) -> None:
        if assigned != self._shown or not all(one in self._ends for one in assigned):
            backlog.forget()
            return
        came = sum(self._ends[one] for one in assigned)
        done = came - sum(self.records[one] for one in assigned)
        backlog.look(time.monotonic(), came=came, done=done)
        self._metrics.backlog_clears.labels(NOW).set(backlog.clears())
        self._metrics.backlog_clears.labels(ONE_MORE).set(backlog.clears(faster=self._with_one_more(len(assigned))))

    def _with_one_more(self, assigned: int) -> float:
        """How much faster one more process would make the topic, where this one has so many of its partitions."""
        known = (lane.consumer.partitions_for_topic(self._topic) for lane in self._lanes if lane.consumer is not None)
        everywhere = max((len(partitions) for partitions in known if partitions), default=0)
        processes = everywhere / assigned if assigned else 0.0
        # With a process for each partition one more would get none.
        return (processes + 1) / processes if 0 < processes < everywhere else 1.0

    async def _refresh_lane(self, lane: Lane, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
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
            self._ends[partition] = ends[partition]
            self._metrics.lag_records.labels(*labels).set(lag)
            self._metrics.committed_offset.labels(*labels).set(done)
            self._metrics.end_offset.labels(*labels).set(ends[partition])
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
            for metric in (
                self._metrics.lag_records,
                self._metrics.lag_seconds,
                self._metrics.committed_offset,
                self._metrics.end_offset,
            ):
                # A partition that came and went while no broker answered was never shown.
                with suppress(KeyError):
                    metric.remove(*labels)
            for kept in (self._looks, self.records, self.seconds, self._ends):
                kept.pop(partition, None)
