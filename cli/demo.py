"""`sightline demo`: the main job on sample images, on embedded defaults, with nothing to set up."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import numpy as np
from rich.console import Console

from cli.demo_searches import show_searches
from cli.embedded import EmbeddedPipeline, embedded_pipeline
from cli.parts import Parts
from cli.progress import image_progress
from cli.warm_up import model_line
from encoders.presence import look_up
from imaging.sample_scenes import SampleScene, draw_sample_scenes
from imaging.samples import write_broken
from runtime import log
from runtime.lifecycle import ExitCode, run_components
from runtime.settings import Settings, load_settings
from schemas.collection import Status
from schemas.errors import ConfigurationError, SightlineError
from schemas.events import point_id
from stores.vectors import StoredPoint, Where

ADDED = 40
"""Images that are added one by one while the pipeline runs, to measure upload-to-searchable."""

Shown = dict[str, SampleScene]
"""What the folder shows now, by key."""


async def demo(images: int, *, model: str | None = None, keep: bool) -> ExitCode:
    """Run the demo in a folder of its own, and remove it at the end unless it is to be kept."""
    if model and look_up(model).is_remote:
        raise ConfigurationError(
            f"the demo asks hundreds of questions, which {model} may charge for; try `sightline index FOLDER --model "
            f"{model}` with a budget, or the demo without --model"
        )
    place = Path(tempfile.mkdtemp(prefix="sightline-demo-"))
    settings = load_settings({}, data_dir=place / "data", encoder__model=model)
    log.configure("ERROR")
    try:
        return await _demo(settings, place / "photos", images, Console(highlight=False, markup=False))
    finally:
        if keep:
            chosen = f" --model {model}" if model else ""
            print(f"kept {place}; try: sightline search --data-dir {place / 'data'}{chosen} 'a cat'")
        else:
            shutil.rmtree(place, ignore_errors=True)


async def _demo(settings: Settings, photos: Path, images: int, console: Console) -> ExitCode:
    console.rule("Sightline demo")
    started = time.perf_counter()
    samples = await asyncio.to_thread(draw_sample_scenes, photos, images, seed=7)
    broken = await asyncio.to_thread(write_broken, photos)
    console.print(f"drew {len(samples)} images and {len(broken)} broken files in {time.perf_counter() - started:.1f} s")
    late = await asyncio.to_thread(draw_sample_scenes, photos.with_name("late"), ADDED, seed=8)
    parts = Parts.make(settings, budget_stops=False)
    async with embedded_pipeline(parts, str(photos)) as pipeline, _running(pipeline) as failing:
        console.print(model_line(pipeline.engine))
        seconds = await _index_all(pipeline, len(samples), len(broken), console, failing)
        console.print(f"indexed {len(samples)} images in {seconds:.1f} s: {len(samples) / seconds:.0f} images/s")
        shown = {scene.path.relative_to(photos).as_posix(): scene for scene in samples}
        waits = [await _add(pipeline, photos, scene, shown) for scene in late]
        await _overwrite(pipeline, photos, samples[0], samples[1], shown, console)
        await _delete(pipeline, photos, samples[2], shown, console)
        await show_searches(parts, pipeline, shown, console)
        await _show_rejected(pipeline, console)
        p50, p99 = np.percentile(np.array(waits) * 1000, [50, 99])
        console.print(f"upload to searchable, {ADDED} images one by one: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
        expected = len(samples) + ADDED - 1
        counts = await pipeline.counts()
    right = counts["indexed"] == expected and counts["rejected"] == len(broken)
    console.print(
        f"index: {counts['indexed']} indexed, {counts['rejected']} rejected, {counts['gone']} gone; "
        + ("exactly what the folder holds" if right else f"expected {expected} and {len(broken)}")
    )
    return ExitCode.CLEAN if right else ExitCode.FAILED


@asynccontextmanager
async def _running(pipeline: EmbeddedPipeline) -> AsyncIterator["asyncio.Task[None]"]:
    """The components at work; the task ends early only when one of them fails."""
    stop = asyncio.Event()
    groups = [pipeline.feed_components(), *pipeline.stage_components()]
    work = asyncio.create_task(run_components(groups, stop=stop, drain_seconds=10, log=pipeline.parts.log))
    try:
        yield work
    finally:
        stop.set()
        await work


async def _index_all(
    pipeline: EmbeddedPipeline, images: int, broken: int, console: Console, failing: "asyncio.Task[None]"
) -> float:
    """Seconds until all images were searchable. The broken files take 2 s longer: they might still be being written."""
    started = time.perf_counter()
    searchable: float | None = None
    with image_progress(console) as bar:
        task = bar.add_task("indexing", total=images + broken)
        done = 0
        while done < images + broken and not failing.done():
            await asyncio.sleep(0.05)
            counts = await pipeline.counts()
            done = counts["indexed"] + counts["rejected"]
            if counts["indexed"] >= images and searchable is None:
                searchable = time.perf_counter() - started
            bar.update(task, completed=done)
    if failing.done():
        await failing
    return searchable or time.perf_counter() - started


async def _add(pipeline: EmbeddedPipeline, photos: Path, scene: SampleScene, shown: Shown) -> float:
    target = photos / scene.path.name
    await asyncio.to_thread(shutil.copyfile, scene.path, target)
    closed = time.perf_counter()
    one = point_id("folder", pipeline.source.store.bucket, target.name)
    await _see(pipeline, one, lambda point: point is not None and point.payload.status is Status.INDEXED)
    shown[target.name] = scene
    return time.perf_counter() - closed


async def _overwrite(
    pipeline: EmbeddedPipeline, photos: Path, old: SampleScene, by: SampleScene, shown: Shown, console: Console
) -> None:
    key = old.path.relative_to(photos).as_posix()
    one = point_id("folder", pipeline.source.store.bucket, key)
    before = (await pipeline.index.get([one]))[0].payload.sha256
    await asyncio.to_thread(shutil.copyfile, by.path, old.path)
    await _see(pipeline, one, lambda point: point is not None and point.payload.sha256 != before)
    shown[key] = by
    console.print(f"overwrote {key} with {by.path.name}: its vector is now the new picture's")


async def _delete(pipeline: EmbeddedPipeline, photos: Path, scene: SampleScene, shown: Shown, console: Console) -> None:
    key = scene.path.relative_to(photos).as_posix()
    one = point_id("folder", pipeline.source.store.bucket, key)
    await asyncio.to_thread(scene.path.unlink)
    await _see(pipeline, one, lambda point: point is not None and point.payload.status is Status.GONE)
    del shown[key]
    console.print(f"deleted {key}: it is no longer found")


async def _see(pipeline: EmbeddedPipeline, one: UUID, wanted: Callable[[StoredPoint | None], bool]) -> None:
    """Ask the index until it shows what is wanted, as a person would who reloads a page."""
    deadline = time.monotonic() + 30
    while not wanted(next(iter(await pipeline.index.get([one])), None)):
        if time.monotonic() > deadline:
            raise SightlineError(
                f"{one} did not change within 30 s; something is wrong with this machine or with Sightline"
            )
        await asyncio.sleep(0.002)


async def _show_rejected(pipeline: EmbeddedPipeline, console: Console) -> None:
    console.print("rejected:")
    page = await pipeline.index.scroll(Where(status=Status.REJECTED), limit=100)
    for point in page.points:
        console.print(f"  {point.payload.key}: {point.payload.reason} ({point.payload.detail})")
