"""`sightline retag`: new tags for all images from their stored vectors, after a change of the vocabulary."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console

from cli.address import Address, find_running, key_headers
from cli.canary import ensure_collection
from cli.indexes import make_index
from cli.models import make_engine
from cli.parts import Parts
from cli.progress import image_progress
from cli.retag_job import tag_settings_digest
from cli.search import answer_of
from cli.tagging import make_tagger, vocabulary_of
from encoders.vocabulary import Vocabulary
from runtime.lifecycle import ExitCode, stop_on_signals
from runtime.settings import Settings
from schemas.collection import collection_name
from schemas.errors import ConfigurationError, SightlineError
from services.indexer.retag import Retagger
from services.indexer.retag_job import RetagAnswer, RetagPreview, RetagState, preview_of

EVERY_SECONDS = 0.2
"""How often another process is asked how far it is."""

Told = Callable[[int, int], None]
"""Takes images done and images in all."""


@dataclass(frozen=True, kw_only=True)
class RetagOptions:
    """What to tag anew, and how to tell of it."""

    model: str | None = None
    """The model that was named; without a name it is that of whoever holds the index."""
    everything: bool = False
    dry_run: bool = False
    as_json: bool = False


async def retag(settings: Settings, options: RetagOptions) -> ExitCode:
    """Tag anew, here or in the process that holds the index. Raises `ConfigurationError` before anything is touched."""
    if not settings.tags.enabled:
        raise ConfigurationError("tags are switched off; set SIGHTLINE_TAGS__ENABLED=true, here and for the embedders")
    vocabulary = vocabulary_of(settings.tags)
    parts = Parts.make(settings)
    # A server's collection has many writers; an index in a folder is open in one process.
    running = None if settings.qdrant.url else find_running(settings.data_dir)
    with stop_on_signals(parts.log) as stop:
        if running is None:
            work = _here(parts, vocabulary, options)
        else:
            digest = tag_settings_digest(settings.tags, vocabulary)
            work = _there(running, digest, options, key_headers(settings))
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            return working.result()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    _console().print(
        "stopped; the next run goes on where this one ended"
        if running is None
        else f"`sightline {running.what}` (process {running.pid}) goes on with it; run the command again to follow"
    )
    return ExitCode.FAILED


async def _here(parts: Parts, vocabulary: Vocabulary, options: RetagOptions) -> ExitCode:
    async with make_index(parts) as index:
        if await index.metadata() is None:
            model = parts.settings.encoder.model
            raise ConfigurationError(
                f"nothing was ever indexed by the model {model} here, so there is nothing to tag; name the index with "
                "--model and --data-dir, or SIGHTLINE_QDRANT__URL"
            )
        async with make_engine(parts) as engine:
            await ensure_collection(index, engine, parts, writes=not options.dry_run)
            tagger = await make_tagger(parts.settings.tags, engine, vocabulary)
            retagger = Retagger(index, tagger, everything=options.everything)
            if options.dry_run:
                return _show_preview(await preview_of(retagger), options)
            with _progress() as told:
                done = await retagger.run(lambda progress: told(progress.done, progress.total))
    return _show_result(done.images, done.seconds, done.left, options)


async def _there(running: Address, digest: str, options: RetagOptions, headers: dict[str, str]) -> ExitCode:
    collection = collection_name(options.model) if options.model else None
    asked = {"everything": options.everything, "settings": digest, "collection": collection}
    # A proxy of the environment is for other machines.
    async with httpx.AsyncClient(base_url=running.url, timeout=60.0, trust_env=False, headers=headers) as client:
        if options.dry_run:
            answer = await _answer(running, client.post("/v1/retag/preview", json=asked))
            return _show_preview(RetagPreview.model_validate(answer), options)
        state = RetagAnswer.model_validate(await _answer(running, client.post("/v1/retag", json=asked)))
        with _progress() as told:
            told(state.done, state.total)
            while state.state is RetagState.RUNNING:
                await asyncio.sleep(EVERY_SECONDS)
                state = RetagAnswer.model_validate(await _answer(running, client.get("/v1/retag")))
                told(state.done, state.total)
    if state.state is not RetagState.DONE:
        raise SightlineError(f"{state.detail or 'the run ended'}. Run the command again: it goes on where it ended")
    return _show_result(state.done, state.seconds or 0.0, state.left or 0, options)


async def _answer(running: Address, request: Awaitable[httpx.Response]) -> Any:
    who = f"`sightline {running.what}` (process {running.pid}, {running.url})"
    try:
        response = await request
    except httpx.HTTPError as error:
        raise SightlineError(
            f"{who} broke off ({error!r}). Run the command again: it goes on where it ended"
        ) from error
    if response.status_code == 404:
        raise ConfigurationError(
            f"{who} holds the index and cannot retag it. Stop it, run `sightline retag`, and start it again"
        )
    if response.status_code == 409:
        raise ConfigurationError(f"{who} holds the index: {response.json()['detail']}")
    return answer_of(response)


@contextmanager
def _progress() -> Iterator[Told]:
    with image_progress(_console()) as bar:
        task = bar.add_task("tagging", total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield told


def _show_preview(preview: RetagPreview, options: RetagOptions) -> ExitCode:
    if options.as_json:
        print(preview.model_dump_json())
        return ExitCode.CLEAN
    verb = "image has" if preview.outdated == 1 else "images have"
    print(f"{preview.outdated} {verb} tags of other settings, or none; nothing was changed")
    for change in preview.changes:
        before, after = (
            ", ".join(f"{tag.tag} {tag.score:.2f}" for tag in tags) or "no tags"
            for tags in (change.before, change.after)
        )
        print(f"{change.bucket}/{change.key}: {before} -> {after}")
    return ExitCode.CLEAN


def _show_result(images: int, seconds: float, left: int, options: RetagOptions) -> ExitCode:
    per_second = images / seconds if seconds else 0.0
    if options.as_json:
        print(json.dumps({"images": images, "seconds": seconds, "images_per_second": per_second, "left": left}))
    elif images:
        noun = "image" if images == 1 else "images"
        print(f"{images} {noun} tagged anew in {seconds:.1f} s, {per_second:.0f} a second")
    else:
        print("the tags of all images are up to date")
    if not left:
        return ExitCode.CLEAN
    _console().print(
        f"sightline: {left} images have tags of other settings still, because something goes on making them. Start the "
        "embedders again with the settings of this command, then run it once more"
    )
    return ExitCode.FAILED


def _console() -> Console:
    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
