"""Topics, workers and consumers on a real broker, under names that no other test has."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from prometheus_client import CollectorRegistry

from runtime.batch import Publisher, Received
from runtime.dead_letters import BudgetPolicy, DeadLetterBudget, PublishedDeadLetters
from runtime.kafka import KafkaConsumer, KafkaMetrics, KafkaPublisher, ensure_topics, read_dead_letters, topic_name
from runtime.kafka.records import received
from runtime.log import Log
from runtime.metrics import MetricSet, StageMetrics
from runtime.retry import Retry, RetryPolicy
from runtime.settings import KafkaSettings
from runtime.stage import Emit, Item, Outcome
from runtime.worker import Worker
from schemas.codec import Message, decode_image_event, encode
from schemas.dead_letter import DeadLetter
from schemas.events import ImageEvent
from schemas.topics import DEAD_LETTERS, IMAGE_EMBEDDINGS, IMAGE_EVENTS
from tests.unit.runtime.stages import event

PARTITIONS = 4
LOG = Log("test.kafka")

Answer = Callable[[Sequence[Item[ImageEvent]]], Awaitable[Mapping[str, Outcome]]]


async def echo(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
    return {item.id: Emit((item.event,)) for item in items}


class Stage:
    """Answers as the test says, and tells it what it has seen."""

    name = "scripted"

    def __init__(self, answer: Answer = echo) -> None:
        self.answer = answer
        self.seen: list[str] = []
        self.finished: list[str] = []
        self.entered = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def process(self, items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        keys = [item.event.key for item in items]
        self.seen += keys
        self.entered.set()
        outcomes = await self.answer(items)
        self.finished += keys
        return outcomes


class Gate:
    """An answer that waits until the test opens it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        await self.open.wait()
        return await echo(items)


@dataclass
class Rig:
    """A broker's corner for one test: `image-events` in, `image-embeddings` out, and the dead letters."""

    settings: KafkaSettings
    registry: CollectorRegistry
    metrics: KafkaMetrics
    source: KafkaPublisher
    sink: KafkaPublisher
    letters: KafkaPublisher
    running: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def make(cls, address: str, **changes: Any) -> AsyncIterator["Rig"]:
        values = {
            "bootstrap_servers": address,
            "topic_prefix": f"t{uuid.uuid4().hex[:8]}.",
            "partitions": PARTITIONS,
            "session_timeout_ms": 6000,
            "rebalance_timeout_ms": 20_000,
            "request_timeout_ms": 5000,
            "batch_wait_ms": 20,
        }
        settings = KafkaSettings(**(values | changes))
        await ensure_topics(settings, [IMAGE_EVENTS, IMAGE_EMBEDDINGS, DEAD_LETTERS])
        registry = CollectorRegistry()
        async with AsyncExitStack() as entered:
            source, sink, letters = [
                await entered.enter_async_context(KafkaPublisher(topic, settings, log=LOG))
                for topic in (IMAGE_EVENTS, IMAGE_EMBEDDINGS, DEAD_LETTERS)
            ]
            rig = cls(settings, registry, KafkaMetrics.make(registry), source, sink, letters)
            try:
                yield rig
            finally:
                for task in rig.running:
                    task.cancel()
                await asyncio.gather(*rig.running, return_exceptions=True)

    def worker(
        self, stage: Stage, publisher: Publisher | None = None, metrics: StageMetrics | None = None
    ) -> Worker[ImageEvent]:
        metrics = metrics or MetricSet.make(CollectorRegistry()).stage(stage.name)
        return Worker(
            stage,
            lambda record: decode_image_event(record.value, record.headers),
            publisher or self.sink,
            PublishedDeadLetters(self.letters),
            metrics=metrics,
            retry=Retry(RetryPolicy(first=0.05, most=0.2), stage=stage.name, metrics=metrics, log=LOG),
            budget=DeadLetterBudget(BudgetPolicy(), LOG),
            log=LOG,
        )

    def consumer(
        self,
        stage: Stage,
        *,
        group: str = "g",
        consumers: int = 1,
        drain_seconds: float = 10.0,
        lag_interval: float = 0.2,
        metrics: KafkaMetrics | None = None,
        tell_backlog: bool = False,
        stage_metrics: StageMetrics | None = None,
        **settings: Any,
    ) -> KafkaConsumer:
        return KafkaConsumer(
            IMAGE_EVENTS,
            group,
            self.worker(stage, metrics=stage_metrics),
            settings=self.settings.model_copy(update=settings),
            metrics=metrics or self.metrics,
            log=LOG,
            consumers=consumers,
            drain_seconds=drain_seconds,
            lag_interval=lag_interval,
            tell_backlog=tell_backlog,
        )

    def start(self, consumer: KafkaConsumer) -> "Running":
        stop = asyncio.Event()
        task = asyncio.create_task(consumer.run(stop))
        self.running.append(task)
        return Running(consumer, stop, task)

    async def publish(self, keys: Sequence[str]) -> None:
        await self.source.publish([encode(event(key)) for key in keys])

    async def publish_to(self, partition: int, message: Message) -> int:
        """Past the partitioner; answers the offset."""
        assert self.source._producer is not None
        sent = await self.source._producer.send_and_wait(
            self.source.topic,
            value=message.value or None,
            key=message.key,
            headers=list(message.headers),
            partition=partition,
        )
        return int(sent.offset)

    async def committed(self, group: str = "g") -> dict[int, int]:
        """The group's committed offset by partition, without joining it."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(f"{self.settings.group_prefix}{group}")
        finally:
            await admin.close()
        return {
            partition.partition: kept.offset
            for partition, kept in offsets.items()
            if partition.topic == self.source.topic and kept.offset >= 0
        }

    async def everything(self, topic: str) -> list[Received]:
        """All records of a topic, by partition and offset."""
        reader = AIOKafkaConsumer(
            bootstrap_servers=self.settings.bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False
        )
        await reader.start()
        try:
            await reader._client.force_metadata_update()
            name = topic_name(self.settings, topic)
            reader._client.add_topic(name)
            await reader._client.force_metadata_update()
            partitions = [TopicPartition(name, number) for number in reader.partitions_for_topic(name)]
            reader.assign(partitions)
            ends = await reader.end_offsets(partitions)
            found: list[Received] = []
            while any([await reader.position(one) < ends[one] for one in partitions]):
                for batch in (await reader.getmany(timeout_ms=200)).values():
                    found += [received(record) for record in batch]
        finally:
            await reader.stop()
        return sorted(found, key=lambda record: (record.partition, record.offset))

    async def emitted(self) -> list[str]:
        """The keys of the events on the output topic."""
        return [decode_image_event(one.value).key for one in await self.everything(IMAGE_EMBEDDINGS.name)]

    async def dead_letters(self) -> list[DeadLetter]:
        return [kept.letter async for kept in read_dead_letters(self.settings)]

    def value(self, name: str, **labels: str) -> float:
        """A metric of Kafka's; 0 where nothing was counted yet."""
        return self.registry.get_sample_value(name, {"topic": self.source.topic, **labels}) or 0.0


@dataclass
class Running:
    """A consumer at work."""

    consumer: KafkaConsumer
    stop: asyncio.Event
    task: asyncio.Task[None]

    async def finish(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 20)


async def until(condition: Callable[[], bool | Awaitable[bool]], *, patience: float = 15.0) -> None:
    """Return once the condition holds; it is something of the broker's, so no event of ours can tell."""
    async with asyncio.timeout(patience):
        while True:
            holds = condition()
            if not isinstance(holds, bool):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.02)


__all__ = ["LOG", "PARTITIONS", "Gate", "Rig", "Running", "Stage", "echo", "event", "replace", "until"]
