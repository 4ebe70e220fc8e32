"""`sightline up`: a folder or a bucket kept indexed, and searched, by one process."""

from rich.console import Console

from cli.access import guarded
from cli.address import leave_address, refuse_if_running
from cli.embedded import EmbeddedPipeline, embedded_pipeline
from cli.front import Front
from cli.image_urls import image_urls
from cli.model_metrics import watch_work
from cli.one_image import one_image_of_pipeline
from cli.parts import Parts
from cli.photo_tagging import folder_of, make_photo_tags
from cli.retag_job import make_retag_job
from cli.serving import index_status, search_app
from cli.sources import check_source
from runtime.garbage import keep_what_is_loaded
from runtime.http import HttpServer
from runtime.lifecycle import Component, ExitCode, run_components, stop_on_signals
from runtime.probe_routes import probe_app
from runtime.settings import Settings
from services.search.answers import StatusAnswer
from services.search.health_routes import starting_health_router
from services.search.page_routes import page_router


async def up(settings: Settings, source: str) -> ExitCode:
    """Run until a signal. Raises `ConfigurationError` before anything is touched, where it can be known."""
    refuse_if_running(settings.data_dir)
    check_source(source, settings)
    parts = Parts.make(settings, budget_stops=False)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    probes = parts.probes()
    pipeline_ready = probes.component("pipeline", why="the model is being loaded")
    starting = probe_app(probes, parts.registry)
    starting.include_router(page_router())
    starting.include_router(starting_health_router(settings.encoder.model))
    front = Front(starting)
    port = 8080 if settings.port is None else settings.port
    gate = guarded(front, settings, parts.registry, parts.log)
    server = HttpServer(gate, settings.host, port, drain_seconds=settings.drain_seconds)
    server.bind()
    try:
        with stop_on_signals(parts.log) as stop:
            async with (
                probes,
                server,
                image_urls(settings.urls) as urls,
                embedded_pipeline(parts, source) as pipeline,
            ):
                for name, stage in zip(("embedder", "indexer"), pipeline.stages, strict=True):
                    probes.stage(name, stage)
                watch_work(pipeline.engine, probes, parts.log)
                retag = make_retag_job(parts, pipeline.index, pipeline.tagging)
                photos = make_photo_tags(
                    parts, pipeline.engine, index=pipeline.index, folder=folder_of(pipeline.source.store)
                )
                front.app = search_app(
                    parts,
                    pipeline.index,
                    photos.engine,
                    probes,
                    lambda: _status(pipeline, server.address),
                    [retag.router, photos.router],
                    urls=urls,
                    one_image=one_image_of_pipeline(pipeline),
                )
                keep_what_is_loaded()
                pipeline_ready.ready()
                probes.started()
                try:
                    with leave_address(settings.data_dir, server.address, f"up {source}", front.instance):
                        console.print(f"sightline keeps {pipeline.source.text} indexed; search it at {server.address}")
                        await run_components(
                            [
                                [*pipeline.feed_components(), Component("retag", retag.run), photos.component],
                                *pipeline.stage_components(),
                                [Component("http", server.serve_until)],
                            ],
                            stop=stop,
                            drain_seconds=settings.drain_seconds,
                            log=parts.log,
                        )
                finally:
                    # The index closes before the server does.
                    pipeline_ready.not_ready("it is stopping")
                    front.app = starting
    finally:
        server.close()
    return ExitCode.CLEAN


async def _status(pipeline: EmbeddedPipeline, address: str) -> StatusAnswer:
    report = pipeline.last_report
    return await index_status(
        pipeline.index,
        pipeline.engine,
        runs=("ingest", "embedder", "indexer", "search"),
        since=pipeline.since,
        waiting=pipeline.events.unfinished + pipeline.embeddings.unfinished,
        source=pipeline.source.text,
        address=address,
        waiting_for=pipeline.waiting_for(),
        last_reconcile=None
        if report is None
        else {
            "listed": report.listed,
            "missing": report.missing,
            "stale": report.stale,
            "orphaned": report.orphaned,
            "recent": report.recent,
            "unreadable": report.unreadable,
            "refused": report.refused,
        },
    )
