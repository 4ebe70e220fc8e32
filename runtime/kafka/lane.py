"""One consumer of a group: the batch in hand, its commit, and what a rebalance does to it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from runtime.batch import Received
from runtime.kafka.metrics import CommitFailure, KafkaMetrics, RebalanceKind
from runtime.kafka.records import received
from runtime.log import Log
from runtime.retry import BatchAbandoned
from runtime.waiting import Waiting
from runtime.worker import Worker
from schemas.errors import DependencyUnavailable


@dataclass(frozen=True, kw_only=True)
class LaneTerms:
    """What all the lanes of a consumer share. Times in seconds."""

    topic: str
    metrics: KafkaMetrics
    log: Log
    commit_deadline: float
    revoke_patience: float
    """How long a rebalance may wait for the batch in hand; below the group's rebalance timeout."""
    remedy: str
    failed: Callable[[BaseException], None]
    """Told of the error that must stop the process."""


class Lane(ConsumerRebalanceListener):  # type: ignore[misc]
    """Handles the batches of one aiokafka consumer, one at a time, and listens to its rebalances."""

    def __init__(self, worker: Worker[Any], terms: LaneTerms) -> None:
        self._worker = worker
        self.terms = terms
        self.batch: KafkaBatch | None = None
        self.committed: dict[TopicPartition, int] = {}
        """What this lane has committed since the partitions were assigned."""
        self._open = asyncio.Event()
        """Set while batches may begin: not before every lane has joined, nor during a rebalance."""
        self._begun = False
        self._revocations = 0
        self._closed = False
        self._waiting = Waiting(worker.waited)
        self._joined = False
        self._rejoining_since: float | None = None
        self._consumer: Callable[[], AIOKafkaConsumer | None] = lambda: None

    def attach(self, consumer: Callable[[], AIOKafkaConsumer | None]) -> None:
        """Say where the consumer is found; FastStream makes it at start."""
        self._consumer = consumer

    @property
    def consumer(self) -> AIOKafkaConsumer | None:
        """The consumer while it runs."""
        return self._consumer()

    def begin(self) -> None:
        """Take batches from now on. Until all have joined, each new member would make the others finish first."""
        self._begun = True
        self._open.set()
        self._waiting.begin()

    def outside(self, patience: float) -> bool:
        """Whether it is no member of the group: it has not joined yet, or could not for `patience` seconds again."""
        since = self._rejoining_since
        return not self._joined or (since is not None and time.monotonic() - since > patience)

    def close(self) -> None:
        """Take no further batch. One that is being worked on goes on; one that merely waits is given up."""
        self._closed = True
        self._open.set()
        self._waiting.end()
        if self.batch is not None:
            self.batch.give_up()

    async def handle(self, raw: "list[ConsumerRecord[bytes | None, bytes | None]]") -> None:
        """Take a batch through the worker. Whatever must stop the process goes to `terms.failed`.

        FastStream would swallow it, and the next commit would cover the records that failed.
        """
        fetched_after = self._revocations
        await self._open.wait()
        consumer = self.consumer
        # What was fetched before a rebalance is fetched again by its owner after it.
        if self._closed or consumer is None or fetched_after != self._revocations:
            return
        batch: KafkaBatch | None = None
        try:
            records = [received(record) for record in raw]
            if not _all_assigned(consumer, records):
                return
            batch = self.batch = KafkaBatch(records, consumer, self)
            self._waiting.end()
            await self._worker.handle(batch)
        except BatchAbandoned:
            self.terms.log.info("batch_abandoned", f"{self.terms.topic}: {len(raw)} records were left undone")
        except Exception as error:
            self._closed = True
            self.terms.failed(error)
        finally:
            self.batch = None
            if batch is not None:
                batch.leave()
            if not self._closed:
                self._waiting.begin()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Let the batch in hand finish and commit before its partitions are given away."""
        # A first join, and a member beyond the number of partitions, have nothing that could be taken away.
        if revoked:
            self.terms.metrics.rebalances.labels(self.terms.topic, RebalanceKind.REVOKED.value).inc()
        self._revocations += 1
        self._rejoining_since = time.monotonic()
        self._open.clear()
        batch = self.batch
        if batch is None:
            return
        batch.give_up()
        try:
            async with asyncio.timeout(self.terms.revoke_patience):
                await batch.left.wait()
        except TimeoutError:
            batch.lost = True
            self.terms.log.warning(
                "batch_lost",
                f"{self.terms.topic}: a batch was not done {self.terms.revoke_patience:.0f} s after its partitions "
                "were revoked; its records are delivered again. Make batches smaller, or raise "
                "SIGHTLINE_KAFKA__REBALANCE_TIMEOUT_MS",
            )

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Begin anew, from what the group has committed."""
        if assigned:
            self.terms.metrics.rebalances.labels(self.terms.topic, RebalanceKind.ASSIGNED.value).inc()
        self._joined, self._rejoining_since = True, None
        self.committed.clear()
        if self._begun or self._closed:
            self._open.set()


def _all_assigned(consumer: AIOKafkaConsumer, records: Sequence[Received]) -> bool:
    # The partitions may have been given away between the fetch and its handler.
    assigned = consumer.assignment()
    return all(TopicPartition(record.topic, record.partition) in assigned for record in records)


@dataclass(eq=False)
class KafkaBatch:
    """Records in hand. Its commit names its own offsets: nothing that was merely fetched is ever committed."""

    records: Sequence[Received]
    _consumer: AIOKafkaConsumer
    _lane: Lane
    left: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False
    """True once the group went on without waiting for this batch."""
    _given_up: bool = False
    _commit: "asyncio.Task[None] | None" = None

    @property
    def abandoned(self) -> bool:
        """Read by the worker only between two attempts: a batch that is merely waiting is let go, no other."""
        return self._given_up

    def give_up(self) -> None:
        """Wait no more for dependencies."""
        self._given_up = True

    def leave(self) -> None:
        """No longer in hand, done or not."""
        if self._commit is not None:
            self._commit.cancel()
        self.left.set()

    def oldest(self) -> dict[TopicPartition, datetime | None]:
        """The timestamp of the first record of each partition."""
        first: dict[TopicPartition, datetime | None] = {}
        for record in self.records:
            first.setdefault(TopicPartition(record.topic, record.partition), record.timestamp)
        return first

    def offsets(self) -> dict[TopicPartition, int]:
        """What to commit: for each partition the offset after its last record."""
        following: dict[TopicPartition, int] = {}
        for record in self.records:
            partition = TopicPartition(record.topic, record.partition)
            following[partition] = max(following.get(partition, 0), record.offset + 1)
        return following

    async def done(self) -> None:
        """Commit. A commit that comes too late is counted and no error: the records are delivered again.

        Raises `DependencyUnavailable` when the coordinator does not answer; aiokafka by itself would
        wait for ever.
        """
        terms = self._lane.terms
        offsets = self.offsets()
        if self.lost:
            self._too_late("the group went on without this batch")
            return
        # A commit under way is waited for again rather than doubled: aiokafka repeats it by itself, without end.
        if self._commit is None:
            self._commit = asyncio.create_task(self._consumer.commit(offsets), name=f"commit on {terms.topic}")
        answered, _ = await asyncio.wait([self._commit], timeout=terms.commit_deadline)
        if not answered:
            raise self._unavailable(
                CommitFailure.TIMEOUT, f"no commit on {terms.topic} within {terms.commit_deadline:.0f} s"
            )
        commit, self._commit = self._commit, None
        try:
            commit.result()
        except (CommitFailedError, IllegalStateError) as error:
            self._too_late(str(error))
        except KafkaError as error:
            raise self._unavailable(CommitFailure.UNAVAILABLE, f"no commit on {terms.topic} ({error!r})") from error
        else:
            self._lane.committed |= offsets
            terms.metrics.last_commit.labels(terms.topic).set_to_current_time()

    def _too_late(self, why: str) -> None:
        terms = self._lane.terms
        terms.metrics.commit_failures.labels(terms.topic, CommitFailure.REVOKED.value).inc()
        terms.log.warning("commit_too_late", f"{terms.topic}: {len(self.records)} records come again: {why}")

    def _unavailable(self, kind: CommitFailure, detail: str) -> DependencyUnavailable:
        terms = self._lane.terms
        terms.metrics.commit_failures.labels(terms.topic, kind.value).inc()
        return DependencyUnavailable("kafka", detail, terms.remedy)
