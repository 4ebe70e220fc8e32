"""`sightline serve`: the vectors of one model over HTTP, without an index."""

from rich.console import Console

from cli.access import guarded
from cli.front import Front
from cli.image_urls import image_urls
from cli.model_metrics import watch_model
from cli.models import make_engine
from cli.parts import Parts
from cli.photo_tagging import make_photo_tags
from runtime.garbage import keep_what_is_loaded
from runtime.http import HttpServer
from runtime.lifecycle import Component, ExitCode, run_components, stop_on_signals
from runtime.probe_routes import probe_app
from runtime.settings import Settings
from services.embedder.metrics import DeviceMetrics
from services.search.health_routes import starting_health_router
from services.search.service_app import embedding_app

DEFAULT_PORT = 8080


async def serve(settings: Settings) -> ExitCode:
    """Run until a signal. Raises `ConfigurationError` before the model is loaded, where it can be known."""
    parts = Parts.make(settings)
    device = DeviceMetrics(parts.registry, dollars_per_hour=settings.cost.device_dollars_per_hour)
    engine = make_engine(parts, device)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    probes = parts.probes()
    model_ready = probes.component("model", why="it is being loaded")
    starting = probe_app(probes, parts.registry)
    starting.include_router(starting_health_router(settings.encoder.model))
    front = Front(starting)
    gate = guarded(front, settings, parts.registry, parts.log)
    port = DEFAULT_PORT if settings.port is None else settings.port
    server = HttpServer(gate, settings.host, port, drain_seconds=settings.drain_seconds)
    server.bind()
    try:
        with stop_on_signals(parts.log) as stop:
            async with probes, server, image_urls(settings.urls) as urls, engine:
                device.watch(engine)
                watch_model(engine, parts.registry, probes, parts.log)
                photos = make_photo_tags(parts, engine)
                front.app = embedding_app(
                    photos.engine,
                    probes=probes,
                    registry=parts.registry,
                    routers=[photos.router],
                    urls=urls,
                    healthy=settings.health_status,
                )
                keep_what_is_loaded()
                model_ready.ready()
                probes.started()
                identity = engine.identity
                console.print(
                    f"sightline serve: {identity.model}, {identity.dimension} numbers on {engine.encoder.device}, "
                    f"at {server.address}"
                )
                try:
                    await run_components(
                        [[photos.component], [Component("http", server.serve_until)]],
                        stop=stop,
                        drain_seconds=settings.drain_seconds,
                        log=parts.log,
                    )
                finally:
                    model_ready.not_ready("it is stopping")
                    front.app = starting
    finally:
        server.close()
    return ExitCode.CLEAN
