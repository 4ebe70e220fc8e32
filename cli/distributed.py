"""`sightline run`: any of the services, in one process or several, on Kafka."""

import importlib
from collections.abc import Sequence
from contextlib import AsyncExitStack

from fastapi import FastAPI
from rich.console import Console

from cli.access import guarded
from cli.address import leave_address
from cli.assembly import Assembly, Service
from cli.front import Front
from cli.parts import Parts
from cli.transports import InProcessTransport, KafkaTransport
from runtime.http import HttpServer
from runtime.kafka.admin import BrokerAway, check_broker, ensure_topics
from runtime.lifecycle import Component, ExitCode, run_components, stop_on_signals
from runtime.probe_routes import probe_app, probe_router
from runtime.settings import Settings
from schemas.errors import ConfigurationError
from schemas.topics import TOPICS
from services.search.health_routes import starting_health_router
from services.search.page_routes import page_router

DEFAULT_PORTS = {Service.SEARCH: 8080, Service.INGEST: 8081, Service.EMBEDDER: 8082, Service.INDEXER: 8083}
"""Different, so that one machine can run each service as a process of its own without a word."""

PIPELINE = {Service.INGEST, Service.EMBEDDER, Service.INDEXER}


async def run_services(settings: Settings, names: Sequence[str]) -> ExitCode:
    """Run the named services until a signal. Raises `ConfigurationError` before anything starts."""
    services = _services(names)
    on_kafka = bool(settings.kafka.bootstrap_servers)
    # Search alone is connected with nobody: it reads the index, and embeds.
    if not on_kafka and set(services) & PIPELINE and not set(services) >= PIPELINE:
        raise ConfigurationError(
            "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS is not set, so nothing connects these services with the others. Set it "
            "to your brokers (host:port,host:port), run ingest, embedder and indexer in one process, or use "
            "`sightline up SOURCE`"
        )
    parts = Parts.make(settings)
    probes = parts.probes()
    running = probes.component("services", why="clients, index and model are being opened")
    starting = probe_app(probes, parts.registry)
    if Service.SEARCH in services:
        starting.include_router(page_router())
    if Service.SEARCH in services:
        starting.include_router(starting_health_router(settings.encoder.model))
    front = Front(starting)
    port = settings.port if settings.port is not None else DEFAULT_PORTS[_leader(services)]
    gate = guarded(front, settings, parts.registry, parts.log, serves_people=Service.SEARCH in services)
    server = HttpServer(gate, settings.host, port, drain_seconds=settings.drain_seconds)
    server.bind()
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        kafka_later = on_kafka and not await _found_kafka(parts, services)
        with stop_on_signals(parts.log) as stop:
            async with probes, server, AsyncExitStack() as entered:
                await entered.enter_async_context(parts.tracing)
                transport = KafkaTransport(parts, entered, later=kafka_later) if on_kafka else InProcessTransport(parts)
                assembly = Assembly(parts, probes, entered, transport, services)
                for service in services:
                    await importlib.import_module(f"cli.wiring.{service}").wire(assembly)
                front.app = assembly.application() if assembly.application else _application(assembly)
                running.ready()
                probes.started()
                what = "run " + " ".join(services)
                if Service.SEARCH in services:
                    entered.enter_context(leave_address(settings.data_dir, server.address, what, front.instance))
                console.print(f"sightline {what}: ready at {server.address}")
                try:
                    await run_components(
                        [*assembly.groups.values(), [Component("http", server.serve_until)]],
                        stop=stop,
                        drain_seconds=settings.drain_seconds,
                        log=parts.log,
                    )
                finally:
                    running.not_ready("it is stopping")
                    front.app = starting
    finally:
        server.close()
    return ExitCode.CLEAN


async def _found_kafka(parts: Parts, services: Sequence[Service]) -> bool:
    """Whether a broker is there, with our topics. Raises `BrokerAway` where a service cannot go without."""
    try:
        await check_broker(parts.settings.kafka)
        await ensure_topics(parts.settings.kafka, TOPICS)
    except BrokerAway as error:
        if set(services) & PIPELINE:
            raise
        parts.log.warning("kafka_away", f"{error}. Searches do without; retries are refused until it is there")
        return False
    return True


def _services(names: Sequence[str]) -> list[Service]:
    try:
        chosen = {Service(name) for name in names}
    except ValueError:
        unknown = ", ".join(sorted(set(names) - set(Service)))
        raise ConfigurationError(f"{unknown}: no such service; choose among {', '.join(Service)}") from None
    return [service for service in Service if service in chosen]


def _leader(services: Sequence[Service]) -> Service:
    return next(service for service in DEFAULT_PORTS if service in services)


def _application(assembly: Assembly) -> FastAPI:
    application = FastAPI(title="Sightline", docs_url=None, redoc_url=None, openapi_url=None)
    application.include_router(probe_router(assembly.probes, assembly.parts.registry))
    for router in assembly.routers:
        application.include_router(router)
    return application
