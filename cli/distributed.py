"""`sightline run`: any of the services, in one process or several, on Kafka."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, FastAPI
from rich.console import Console

from cli.address import leave_address
from cli.parts import Parts, ensure_collection
from cli.serving import Front, index_status, search_app
from cli.sources import S3Buckets, key_patterns
from cli.transports import InProcessTransport, KafkaTransport, Transport
from encoders.engine import EncoderEngine
from runtime.http import HttpServer
from runtime.kafka.admin import check_broker, ensure_topics
from runtime.lifecycle import Component, ExitCode, run_components, stop_on_signals
from runtime.metrics import StageMetrics
from runtime.probe_routes import probe_router
from runtime.probes import Probes
from runtime.settings import Settings
from runtime.stage import Stage
from runtime.worker import Decode
from schemas.codec import decode_image_event, decode_judgement
from schemas.errors import ConfigurationError
from schemas.topics import IMAGE_EMBEDDINGS, IMAGE_EVENTS, NOTIFICATIONS, TOPICS, TopicSpec
from services.embedder.metrics import EmbedderMetrics
from services.embedder.stage import EmbedderStage
from services.indexer.metrics import IndexerMetrics
from services.indexer.stage import IndexerStage
from services.indexer.sweep import Sweeper
from services.ingest.metrics import IngestMetrics
from services.ingest.sqs import SqsReceiver
from services.ingest.stage import NotificationStage, decode_notification
from services.ingest.webhook import WebhookReceiver
from services.search.answers import StatusAnswer
from stores.vectors import VectorIndex


class Service(StrEnum):
    """The services, in the order of the pipeline."""

    INGEST = "ingest"
    EMBEDDER = "embedder"
    INDEXER = "indexer"
    SEARCH = "search"


DEFAULT_PORTS = {Service.SEARCH: 8080, Service.INGEST: 8081, Service.EMBEDDER: 8082, Service.INDEXER: 8083}
"""Different, so that one machine can run each service as a process of its own without a word."""


@dataclass
class Assembly:
    """What a process is made of, gathered service by service. Groups stop in the order of the pipeline."""

    parts: Parts
    probes: Probes
    entered: AsyncExitStack
    transport: Transport
    groups: dict[Service, list[Component]] = field(default_factory=lambda: {service: [] for service in Service})
    routers: list[APIRouter] = field(default_factory=list)
    stages: dict[str, StageMetrics] = field(default_factory=dict)
    index: VectorIndex | None = None
    engine: EncoderEngine | None = None
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def consume(
        self,
        service: Service,
        topic: TopicSpec,
        stage: Stage[Any],
        decode: Decode[Any],
        out: TopicSpec | None,
        consumers: int,
    ) -> Any:
        """Wire a stage between two topics, and answer its worker."""
        metrics = self.parts.metrics.stage(stage.name)
        self.stages[stage.name] = metrics
        self.probes.stage(stage.name, metrics)
        worker = self.parts.worker(
            await self.entered.enter_async_context(stage),
            decode,
            await self.transport.publisher(out) if out else None,
            await self.transport.dead_letters(),
            metrics,
        )
        consumer = self.transport.consumer(topic, stage.name, worker, consumers)
        joined = self.probes.component(f"{stage.name} consumer", why="it has not joined its group")

        async def run(stop: asyncio.Event) -> None:
            joined.ready()
            await consumer.run(stop)

        self.groups[service].append(Component(stage.name, run))
        return worker

    async def status(self) -> StatusAnswer:
        """What `sightline status` shows of this process, which has an index and a model."""
        return await index_status(
            self.opened_index,
            self.opened_engine,
            runs=[service.value for service, group in self.groups.items() if group] + [Service.SEARCH.value],
            since=self.since,
            waiting_for=sorted({name for stage in self.stages.values() for name in stage.waiting_for}),
        )

    @property
    def opened_index(self) -> VectorIndex:
        """The index, which the services of this process asked for."""
        if self.index is None:
            raise RuntimeError("no service of this process opens the index")
        return self.index

    @property
    def opened_engine(self) -> EncoderEngine:
        """The engine, which the services of this process asked for."""
        if self.engine is None:
            raise RuntimeError("no service of this process loads a model")
        return self.engine


async def run_services(settings: Settings, names: Sequence[str]) -> ExitCode:
    """Run the named services until a signal. Raises `ConfigurationError` before anything starts."""
    services = _services(names)
    on_kafka = bool(settings.kafka.bootstrap_servers)
    if not on_kafka and not {Service.INGEST, Service.EMBEDDER, Service.INDEXER} <= set(services):
        raise ConfigurationError(
            "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS is not set, so nothing connects these services with the others. Set it "
            "to your brokers (host:port,host:port), run ingest, embedder and indexer in one process, or use "
            "`sightline up SOURCE`"
        )
    parts = Parts.make(settings)
    probes = Probes()
    loading = probes.component("start", why="clients, index and model are being opened")
    front = Front(_probe_only(probes, parts))
    port = settings.port if settings.port is not None else DEFAULT_PORTS[_leader(services)]
    server = HttpServer(front, settings.host, port, drain_seconds=settings.drain_seconds)
    server.bind()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        if on_kafka:
            await check_broker(settings.kafka)
            await ensure_topics(settings.kafka, TOPICS)
        with stop_on_signals(parts.log) as stop:
            async with probes, server, AsyncExitStack() as entered:
                transport = KafkaTransport(parts, entered) if on_kafka else InProcessTransport(parts)
                assembly = Assembly(parts, probes, entered, transport)
                await _assemble(assembly, services)
                front.app = _application(assembly, services)
                loading.ready()
                what = "run " + " ".join(services)
                if Service.SEARCH in services:
                    entered.enter_context(leave_address(settings.data_dir, server.address, what))
                console.print(f"sightline {what}: ready at {server.address}")
                await run_components(
                    [*assembly.groups.values(), [Component("http", server.serve_until)]],
                    stop=stop,
                    drain_seconds=settings.drain_seconds,
                    log=parts.log,
                )
    finally:
        server.close()
    return ExitCode.CLEAN


def _services(names: Sequence[str]) -> list[Service]:
    try:
        chosen = {Service(name) for name in names}
    except ValueError:
        unknown = ", ".join(sorted(set(names) - set(Service)))
        raise ConfigurationError(f"{unknown}: no such service; choose among {', '.join(Service)}") from None
    return [service for service in Service if service in chosen]


def _leader(services: Sequence[Service]) -> Service:
    return next(service for service in DEFAULT_PORTS if service in services)


def _probe_only(probes: Probes, parts: Parts) -> FastAPI:
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    application.include_router(probe_router(probes, parts.registry))
    return application


def _application(assembly: Assembly, services: Sequence[Service]) -> FastAPI:
    if Service.SEARCH in services:
        return search_app(
            assembly.parts,
            assembly.opened_index,
            assembly.opened_engine,
            assembly.probes,
            assembly.status,
            assembly.routers,
        )
    application = _probe_only(assembly.probes, assembly.parts)
    for router in assembly.routers:
        application.include_router(router)
    return application


async def _assemble(assembly: Assembly, services: Sequence[Service]) -> None:
    parts = assembly.parts
    embedder_metrics = EmbedderMetrics(parts.registry) if Service.EMBEDDER in services else None
    if Service.EMBEDDER in services or Service.SEARCH in services:
        assembly.engine = await assembly.entered.enter_async_context(parts.engine(embedder_metrics))
    if Service.INDEXER in services or Service.SEARCH in services:
        assembly.index = await assembly.entered.enter_async_context(parts.index())
        if assembly.engine is not None:
            await ensure_collection(assembly.index, assembly.engine)
    if Service.INGEST in services:
        await _assemble_ingest(assembly)
    if embedder_metrics is not None:
        await _assemble_embedder(assembly, assembly.opened_engine, embedder_metrics)
    if Service.INDEXER in services:
        await _assemble_indexer(assembly, assembly.opened_index)


async def _assemble_ingest(assembly: Assembly) -> None:
    settings = assembly.parts.settings
    metrics = IngestMetrics(assembly.parts.registry)
    stage = NotificationStage(
        settings.ingest.buckets, key_patterns(settings).wants, settings.limits, metrics=metrics, log=assembly.parts.log
    )
    worker = await assembly.consume(Service.INGEST, NOTIFICATIONS, stage, decode_notification, IMAGE_EVENTS, 1)
    webhook = WebhookReceiver(
        worker,
        token=settings.ingest.webhook.token.get_secret_value(),
        loopback=settings.host in ("127.0.0.1", "::1", "localhost"),
        max_bytes=settings.limits.notification_bytes,
    )
    assembly.routers.append(webhook.router)
    assembly.groups[Service.INGEST].append(Component("webhook", webhook.run))
    if settings.ingest.sqs.queue_url:
        receiver = SqsReceiver(
            settings.ingest.sqs.queue_url,
            worker,
            metrics=metrics,
            log=assembly.parts.log,
            wait_seconds=settings.ingest.sqs.wait_seconds,
        )
        assembly.groups[Service.INGEST].append(Component("sqs", receiver.run))


async def _assemble_embedder(assembly: Assembly, engine: EncoderEngine, metrics: EmbedderMetrics) -> None:
    settings = assembly.parts.settings
    buckets = await assembly.entered.enter_async_context(S3Buckets(settings))
    stage = EmbedderStage(
        buckets,
        engine,
        metrics=metrics,
        cache_entries=settings.encoder.cache_entries,
        in_hand=2 * settings.encoder.batch_size,
    )
    await assembly.consume(
        Service.EMBEDDER,
        IMAGE_EVENTS,
        stage,
        lambda record: decode_image_event(record.value, record.headers),
        IMAGE_EMBEDDINGS,
        settings.encoder.consumers,
    )


async def _assemble_indexer(assembly: Assembly, index: VectorIndex) -> None:
    stage = IndexerStage(index, metrics=IndexerMetrics(assembly.parts.registry))
    await assembly.consume(
        Service.INDEXER,
        IMAGE_EMBEDDINGS,
        stage,
        lambda record: decode_judgement(record.value, record.headers),
        None,
        1,
    )
    assembly.groups[Service.INDEXER].append(Component("sweeper", Sweeper(index, assembly.parts.log).run))
