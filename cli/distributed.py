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
from cli.transports import InProcessTransport, KafkaTransport, Transport
from runtime.garbage import keep_what_is_loaded
from runtime.http import HttpServer
from runtime.kafka.admin import BrokerAway, check_broker, ensure_topics
from runtime.lifecycle import Component, ExitCode, given_up_on, run_components, stop_on_signals
from runtime.probe_routes import probe_app, probe_router
from runtime.probes import Probes
from runtime.settings import Settings
from runtime.start import Start
from schemas.errors import ConfigurationError, DependencyUnavailable
from schemas.topics import TOPICS
from services.search.health_routes import starting_health_router
from services.search.page_routes import page_router

DEFAULT_PORTS = {Service.SEARCH: 8080, Service.INGEST: 8081, Service.EMBEDDER: 8082, Service.INDEXER: 8083}
"""Different, so that one machine can run each service as a process of its own without a word."""

PIPELINE = {Service.INGEST, Service.EMBEDDER, Service.INDEXER}
WITH_MODEL = {Service.EMBEDDER, Service.SEARCH}


async def run_services(settings: Settings, names: Sequence[str]) -> ExitCode:
    """Run the named services until a signal. What is away at the start is waited for, alive and not ready.

    Raises `ConfigurationError` for what waiting does not mend.
    """
    services = _services(names)
    # Search alone is connected with nobody: it reads the index, and embeds.
    if not settings.kafka.bootstrap_servers and set(services) & PIPELINE and not set(services) >= PIPELINE:
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
        starting.include_router(starting_health_router(settings.encoder.model))
    front = Front(starting)
    port = settings.port if settings.port is not None else DEFAULT_PORTS[_leader(services)]
    gate = guarded(front, settings, parts.registry, parts.log, serves_people=Service.SEARCH in services)
    server = HttpServer(gate, settings.host, port, drain_seconds=settings.drain_seconds)
    server.bind()
    what = "run " + " ".join(services)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    # For a person one line that can be read; for everything else the log's.
    tell = (lambda sentence: console.print(f"sightline {what}: {sentence}")) if console.is_terminal else None
    start = Start(services, probes=probes, readiness=running, metrics=parts.metrics, log=parts.log, tell=tell)
    try:
        with stop_on_signals(parts.log) as stop:
            async with probes, server, AsyncExitStack() as entered:
                assembly: Assembly | None = None
                async with given_up_on(stop):
                    assembly = await _assembled(parts, probes, entered, services, start)
                if assembly is None:
                    running.not_ready("it is stopping")
                    return ExitCode.CLEAN
                front.app = assembly.application() if assembly.application else _application(assembly)
                keep_what_is_loaded()
                running.ready()
                probes.started()
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


async def _assembled(
    parts: Parts, probes: Probes, entered: AsyncExitStack, services: list[Service], start: Start
) -> Assembly:
    """The services, wired. Raises `ConfigurationError`; what is away is waited for."""
    await entered.enter_async_context(parts.tracing)
    transport: Transport
    away: DependencyUnavailable | None = None
    if parts.settings.kafka.bootstrap_servers:
        # Before the model, which may take minutes: a password that is wrong should be told at once.
        away = await _away(parts.settings)
        later = away is not None and not set(services) & PIPELINE
        if later:
            parts.log.warning("kafka_away", f"{away}. Searches do without; retries are refused until it is there")
        elif away is not None and set(services) & WITH_MODEL:
            parts.log.warning("kafka_away", f"{away}. The model is loaded meanwhile")
        transport = KafkaTransport(parts, entered, later=later)
    else:
        transport = InProcessTransport(parts)
    assembly = Assembly(parts, probes, entered, transport, services, start)
    wiring = {service: importlib.import_module(f"cli.wiring.{service}") for service in services}
    for service in services:
        if service in WITH_MODEL:
            await wiring[service].load(assembly)
    if away is not None and set(services) & PIPELINE:
        await start.until_there(lambda: _kafka(parts.settings))
    for service in services:
        await wiring[service].wire(assembly)
    return assembly


async def _away(settings: Settings) -> DependencyUnavailable | None:
    """Why no broker is there, or None where one is, with our topics."""
    try:
        await _kafka(settings)
    except DependencyUnavailable as error:
        return error
    return None


async def _kafka(settings: Settings) -> None:
    """Return if a broker is there, with our topics. Raises `DependencyUnavailable` if it is away."""
    try:
        await check_broker(settings.kafka)
        await ensure_topics(settings.kafka, TOPICS)
    except BrokerAway as error:
        raise error.as_outage() from error


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
