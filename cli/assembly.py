"""What one process of a fleet is made of, gathered service by service."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI

from cli.parts import Parts
from cli.transports import Transport
from runtime.batch import Publisher
from runtime.lifecycle import Component
from runtime.metrics import StageMetrics
from runtime.probes import Probes
from runtime.stage import Stage
from runtime.start import Start
from runtime.worker import Decode, Worker
from schemas.topics import TopicSpec

T = TypeVar("T")


class Service(StrEnum):
    """The services, in the order of the pipeline."""

    INGEST = "ingest"
    EMBEDDER = "embedder"
    INDEXER = "indexer"
    SEARCH = "search"


@dataclass
class Assembly:
    """The components of a process, in groups that stop in the order of the pipeline."""

    parts: Parts
    probes: Probes
    entered: AsyncExitStack
    transport: Transport
    services: list[Service]
    start: Start
    groups: dict[Service, list[Component]] = field(default_factory=lambda: {service: [] for service in Service})
    routers: list[APIRouter] = field(default_factory=list)
    stages: dict[str, StageMetrics] = field(default_factory=dict)
    application: Callable[[], FastAPI] | None = None
    """Makes the app of a process with an API of its own, once all routers are known."""
    shared: dict[str, Any] = field(default_factory=dict)
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def share(self, name: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """What several services of a process use together (the engine, the index): made by the first that asks."""
        if name not in self.shared:
            self.shared[name] = await make()
        return self.shared[name]

    async def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """What it answers when it is entered, which is done again while a dependency is away; left with the process."""
        return await self.start.until_there(lambda: self.entered.enter_async_context(context))

    async def publisher(self, topic: TopicSpec) -> Publisher:
        """A publisher to a topic, waited for."""
        return await self.start.until_there(lambda: self.transport.publisher(topic))

    async def consume(
        self,
        service: Service,
        topic: TopicSpec,
        stage: Stage[Any],
        decode: Decode[Any],
        *,
        out: TopicSpec | None,
        consumers: int,
    ) -> Worker[Any]:
        """Wire a stage between two topics, and answer its worker."""
        metrics = self.parts.metrics.stage(stage.name)
        self.stages[stage.name] = metrics
        self.probes.stage(stage.name, metrics)
        worker = self.parts.worker(
            await self.enter(stage),
            decode,
            await self.publisher(out) if out else None,
            await self.start.until_there(self.transport.dead_letters),
            metrics,
        )
        consumer = self.transport.consumer(topic, stage.name, worker, consumers)
        self.probes.condition(f"{stage.name} consumer", lambda: consumer.not_ready)
        self.groups[service].append(Component(stage.name, consumer.run))
        return worker

    def waiting_for(self) -> list[str]:
        """The dependencies that any stage of this process waits for now."""
        return sorted({name for stage in self.stages.values() for name in stage.waiting_for})
