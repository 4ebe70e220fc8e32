"""One pass over a source, embedded: `sightline index` and `sightline reconcile`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.address import find_running
from cli.embedded import EmbeddedPipeline, embedded_pipeline
from cli.parts import Parts
from cli.pass_report import PassOptions, show_report
from runtime.lifecycle import ExitCode, run_components, stop_on_signals
from runtime.settings import Settings
from schemas.errors import ConfigurationError


async def one_pass(settings: Settings, source: str, options: PassOptions) -> ExitCode:
    """Bring the index to the source's state, or only say how far it is. Prints exact counts."""
    running = find_running(settings.data_dir)
    if running is not None:
        raise ConfigurationError(
            f"{settings.data_dir} is in use by `sightline {running.what}` (process {running.pid}, {running.url}), "
            "which reconciles by itself. Stop it first, or choose another data folder with --data-dir"
        )
    parts = Parts.make(settings, budget_stops=False)
    console = Console(stderr=True)
    with stop_on_signals(parts.log) as stop:
        async with embedded_pipeline(parts, source) as pipeline, stages_running(pipeline) as broken:
            work = asyncio.create_task(_pass(pipeline, options, console))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({work, stopping, broken}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                if broken.done():
                    broken.result()
                console.print("stopped; the next pass goes on where this one ended")
                return ExitCode.FAILED
            return work.result()


@asynccontextmanager
async def stages_running(pipeline: EmbeddedPipeline) -> AsyncIterator["asyncio.Task[None]"]:
    """The watch and the stages running in the background; the task ends early only when one of them fails."""
    ended = asyncio.Event()
    drain = pipeline.parts.settings.drain_seconds
    running = asyncio.create_task(
        run_components(
            [pipeline.watch_components(), *pipeline.stage_components()],
            stop=ended,
            drain_seconds=drain,
            log=pipeline.parts.log,
        )
    )
    try:
        yield running
    finally:
        ended.set()
        await running


async def _pass(pipeline: EmbeddedPipeline, options: PassOptions, console: Console) -> ExitCode:
    guard = options.guard(pipeline.parts.settings)
    if options.dry_run:
        report = await pipeline.reconciler(guard=guard, dry_run=True, retry_rejected=options.retry_rejected).run()
        show_report(report, options, dry_run=True)
        return ExitCode.CLEAN
    with Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=False,
    ) as bar:
        task = bar.add_task("indexing", total=None)
        if pipeline.watch is not None:
            await pipeline.watch.started()
        following = asyncio.create_task(_follow(pipeline, bar, task))
        try:
            report = await pipeline.reconciler(guard=guard, retry_rejected=options.retry_rejected).run()
            await pipeline.settle()
        finally:
            following.cancel()
        sent = pipeline.events.published
        bar.update(task, total=sent, completed=sent)
    again = await pipeline.reconciler(guard=guard, dry_run=True).run() if options.verify else None
    counts = await pipeline.counts()
    show_report(report, options, dry_run=False, counts=counts, again=again)
    failed = report.refused is not None or (again is not None and again.drift > 0)
    return ExitCode.FAILED if failed else ExitCode.CLEAN


async def _follow(pipeline: EmbeddedPipeline, bar: Progress, task: object) -> None:
    while True:
        published = pipeline.events.published
        done = published - pipeline.events.unfinished
        bar.update(task, total=published or None, completed=done)  # type: ignore[arg-type]
        await asyncio.sleep(0.1)
