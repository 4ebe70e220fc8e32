"""The two transports behind one face, so that wiring a service reads the same on Kafka and within one process."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol

from cli.parts import Parts
from runtime.batch import Publisher
from runtime.dead_letters import DeadLetterSink, FileDeadLetters, PublishedDeadLetters
from runtime.in_process import CAPACITY, InProcessConsumer, InProcessTopic, QueueMetrics
from runtime.kafka.admin import BrokerAway, ensure_topics
from runtime.kafka.consumer import KafkaConsumer
from runtime.kafka.group_lag import GroupLag
from runtime.kafka.metrics import KafkaMetrics
from runtime.kafka.producer import KafkaPublisher
from runtime.settings import KafkaSettings
from runtime.worker import Worker
from schemas.codec import Message
from schemas.errors import ConfigurationError, DependencyUnavailable
from schemas.topics import DEAD_LETTERS, IMAGE_EMBEDDINGS, IMAGE_EVENTS, TOPICS, TopicSpec


class Consumer(Protocol):
    """Brings a topic's records to a worker until it is told to stop."""

    @property
    def not_ready(self) -> str | None:
        """Why it takes no records now; None when it does."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop`, then finish what is in hand."""
        ...


class Lag(Protocol):
    """How far behind the stages are, wherever they run."""

    @property
    def records(self) -> int | None:
        """Records that are not done yet; None where that is not known."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the number true until `stop`."""
        ...


class Transport(Protocol):
    """Publishers, consumers and dead letters of one process."""

    async def publisher(self, topic: TopicSpec) -> Publisher:
        """A connected publisher to a topic."""
        ...

    async def dead_letters(self) -> DeadLetterSink:
        """Where dead letters go."""
        ...

    def consumer(self, topic: TopicSpec, group: str, worker: Worker[Any], consumers: int) -> Consumer:
        """A consumer of a topic, `consumers` batches at a time."""
        ...

    def lag(self) -> Lag:
        """The lag of embedder and indexer."""
        ...


class KafkaTransport:
    """Topics of an Apache Kafka cluster; with `later`, of one that was away and is connected to once it is needed."""

    def __init__(self, parts: Parts, entered: AsyncExitStack, *, later: bool = False) -> None:
        self._later = later
        self._parts = parts
        self._entered = entered
        self._metrics = KafkaMetrics.make(parts.registry)

    async def publisher(self, topic: TopicSpec) -> Publisher:
        """A connected publisher to a topic."""
        publisher = KafkaPublisher(topic, settings=self._parts.settings.kafka, log=self._parts.log)
        if self._later:
            self._entered.push_async_exit(publisher)
            return _Later(publisher, self._parts.settings.kafka)
        return await self._entered.enter_async_context(publisher)

    async def dead_letters(self) -> DeadLetterSink:
        """The topic of the dead letters."""
        return PublishedDeadLetters(await self.publisher(DEAD_LETTERS))

    def consumer(self, topic: TopicSpec, group: str, worker: Worker[Any], consumers: int) -> Consumer:
        """A member of a group, or several."""
        return KafkaConsumer(
            topic,
            group,
            worker,
            consumers=consumers,
            settings=self._parts.settings.kafka,
            metrics=self._metrics,
            log=self._parts.log,
            # Leaving the group and closing take a moment more, all within the process's own deadline.
            drain_seconds=0.8 * self._parts.settings.drain_seconds,
            tell_backlog=topic is IMAGE_EVENTS,
        )

    def lag(self) -> Lag:
        """What the groups of embedder and indexer, in whichever processes they are, have not committed yet."""
        groups = {"embedder": IMAGE_EVENTS, "indexer": IMAGE_EMBEDDINGS}
        return GroupLag(groups, self._parts.settings.kafka, log=self._parts.log)


class _Later:
    """Sees to the topics before the first message, lest the broker make one as it likes."""

    def __init__(self, publisher: KafkaPublisher, settings: KafkaSettings) -> None:
        self._publisher = publisher
        self._settings = settings
        self._topics_there = False

    async def publish(self, messages: Sequence[Message]) -> None:
        """As `KafkaPublisher.publish`. Raises `DependencyUnavailable` also while the topics cannot be had."""
        if not self._topics_there:
            try:
                await ensure_topics(self._settings, TOPICS, timeout=5.0)
            except BrokerAway as error:
                raise error.as_outage() from error
            except ConfigurationError as error:
                raise DependencyUnavailable("kafka", str(error), "Ask again once it is there") from error
            self._topics_there = True
        await self._publisher.publish(messages)


class InProcessTransport:
    """Bounded queues of this process; dead letters are files in the data folder."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._metrics = QueueMetrics(parts.registry)
        self._topics: dict[str, InProcessTopic] = {}

    def topic(self, spec: TopicSpec) -> InProcessTopic:
        """The queue that stands for a topic."""
        if spec.name not in self._topics:
            lanes = self._parts.settings.encoder.consumers
            self._topics[spec.name] = InProcessTopic(spec.name, lanes=lanes, capacity=CAPACITY)
            self._metrics.watch(self._topics[spec.name])
            if spec is IMAGE_EVENTS:
                self._metrics.watch_backlog(self._topics[spec.name])
        return self._topics[spec.name]

    async def publisher(self, topic: TopicSpec) -> Publisher:
        """A publisher to the topic's queue."""
        return self.topic(topic).publisher()

    async def dead_letters(self) -> DeadLetterSink:
        """The files in the data folder."""
        return FileDeadLetters(self._parts.settings.data_dir / "dead-letters")

    def consumer(self, topic: TopicSpec, group: str, worker: Worker[Any], consumers: int) -> Consumer:
        """A consumer of all lanes. It drains, since nothing keeps these queues when the process ends."""
        return InProcessConsumer(self.topic(topic), worker, drain=True)

    def lag(self) -> Lag:
        """What waits in the queues of this process; not known where it has none."""
        return _Queued(self._topics)


class _Queued:
    """The records of some queues."""

    def __init__(self, topics: Mapping[str, InProcessTopic]) -> None:
        self._topics = topics

    @property
    def records(self) -> int | None:
        """Records that are not done yet; None where there is no queue."""
        return sum(topic.unfinished for topic in self._topics.values()) if self._topics else None

    async def run(self, stop: asyncio.Event) -> None:
        """Nothing has to be asked."""
        await stop.wait()
