"""One pass over a source, embedded: `sightline index` and `sightline reconcile`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import Progress

from cli.address import refuse_if_running
from cli.embedded import EmbeddedPipeline, embedded_pipeline
from cli.parts import Parts
from cli.pass_metrics import tell_metrics
from cli.pass_report import PassOptions, show_report
from cli.progress import image_progress
from cli.warm_up import model_line
from runtime.lifecycle import ExitCode, run_components, stop_on_signals
from runtime.settings import Settings

SETTLE_SECONDS = 15.0
"""How long a pass waits for files that keep changing; one that came to rest is seen after about 2 s."""


async def one_pass(settings: Settings, source: str, options: PassOptions) -> ExitCode:
    """Bring the index to the source's state, or only say how far it is. Prints exact counts."""
    refuse_if_running(settings.data_dir)
    parts = Parts.make(settings, budget_stops=False)
    console = Console(stderr=True, markup=False)
    if options.dry_run:
        async with embedded_pipeline(parts, source, only_read=True) as pipeline:
            console.print(model_line(pipeline.engine), soft_wrap=True)
            reconciler = pipeline.reconciler(guard=options.guard, dry_run=True, retry_rejected=options.retry_rejected)
            show_report(await reconciler.run(), options, dry_run=True)
        return ExitCode.CLEAN
    with stop_on_signals(parts.log) as stop:
        async with embedded_pipeline(parts, source) as pipeline, stages_running(pipeline) as broken:
            console.print(model_line(pipeline.engine), soft_wrap=True)
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
    with image_progress(console) as bar:
        task = bar.add_task("indexing", total=None)
        if pipeline.watch is not None:
            await pipeline.watch.started()
        following = asyncio.create_task(_follow(pipeline, bar, task))
        try:
            report = await pipeline.reconciler(guard=options.guard, retry_rejected=options.retry_rejected).run()
            changing = await pipeline.settle(SETTLE_SECONDS)
            if pipeline.gap.is_set():
                # The watch may have missed changes that the listing was too early for.
                await pipeline.reconciler(guard=options.guard).run()
                changing = await pipeline.settle(SETTLE_SECONDS)
        finally:
            following.cancel()
        sent = pipeline.events.published
        bar.update(task, total=sent, completed=sent)
    check = pipeline.reconciler(guard=options.guard, dry_run=True, as_of=report.began)
    again = await check.run() if options.verify else None
    counts = await pipeline.counts()
    parts = pipeline.parts
    await tell_metrics(options, parts.registry, parts.log, bucket=report.bucket, prefix=pipeline.source.prefix)
    show_report(report, options, dry_run=False, counts=counts, again=again)
    if changing:
        console.print(f"still being written, and left for the next pass: {', '.join(changing)}")
    failed = report.refused is not None or (again is not None and again.drift > 0)
    return ExitCode.FAILED if failed else ExitCode.CLEAN


async def _follow(pipeline: EmbeddedPipeline, bar: Progress, task: object) -> None:
    while True:
        published = pipeline.events.published
        done = published - pipeline.events.unfinished
        bar.update(task, total=published or None, completed=done)  # type: ignore[arg-type]
        await asyncio.sleep(0.1)
