"""What the commands do that ask a running process, or the index opened here: the answer is the same."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Literal, cast

import httpx
from rich.console import Console
from rich.table import Table

from cli.search import check_encoding, embedding_client, search_client
from runtime.lifecycle import ExitCode
from runtime.settings import Settings
from schemas.errors import ConfigurationError, SightlineError
from sightline_client import AsyncSightline, DuplicateGroup, Filter, ProblemError, SightlineUnreachable, where

FORMATS = ("csv", "jsonl", "parquet")


@asynccontextmanager
async def _asked(
    settings: Settings,
    made: Callable[[Settings], AbstractAsyncContextManager[httpx.AsyncClient]] = search_client,
) -> AsyncIterator[AsyncSightline]:
    async with made(settings) as client:
        try:
            yield AsyncSightline(client=client)
        except ProblemError as problem:
            raise SightlineError(f"{problem.detail} {problem.remedy}".strip()) from None
        except SightlineUnreachable as error:
            raise SightlineError(str(error)) from error


async def show_tags(settings: Settings, *, bucket: str | None, prefix: str | None, as_json: bool) -> ExitCode:
    """Print how many images have each tag."""
    check_encoding(bucket, prefix)
    async with _asked(settings) as sightline:
        counts = await sightline.tags(only=where(bucket=bucket, prefix=prefix))
    if as_json:
        print(json.dumps({"tags": [one.model_dump() for one in counts]}, ensure_ascii=False))
        return ExitCode.CLEAN
    console = Console(markup=False, highlight=False)
    if not counts:
        console.print("no image has a tag")
        return ExitCode.CLEAN
    table = Table(box=None, pad_edge=False)
    table.add_column("images", justify="right")
    table.add_column("tag", overflow="fold")
    for one in counts:
        table.add_row(f"{one.count:,}", one.tag)
    console.print(table)
    return ExitCode.CLEAN


async def show_duplicates(settings: Settings, *, kind: str, limit: int, as_json: bool) -> ExitCode:
    """Print groups of duplicates as they are found."""
    wanted = cast(Literal["exact", "re-encoded", "similar"], kind)
    console, shown = Console(markup=False, highlight=False, soft_wrap=True), 0
    async with _asked(settings) as sightline:
        async for group in sightline.duplicates(wanted, page=min(limit, 50)):
            if as_json:
                print(group.model_dump_json())
            else:
                _show_group(group, console, first=not shown)
            shown += 1
            if shown == limit:
                break
    if not shown and not as_json:
        console.print(f"no {kind} duplicates")
    return ExitCode.CLEAN


def _show_group(group: DuplicateGroup, console: Console, *, first: bool) -> None:
    if not first:
        console.print()
    for image in group.images:
        console.print(f"{image.bucket}/{image.key}")


async def export_to(
    settings: Settings, file: Path, *, form: str | None, words: str | None, limit: int | None, only: Filter
) -> ExitCode:
    """Write a file, complete or not at all. Raises `ConfigurationError` for an ending that is no format."""
    check_encoding(words, *map(str, only.tree.values()))
    form = form or file.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise ConfigurationError(
            f"{file}: what format? Let it end with {', '.join('.' + one for one in FORMATS)}, or give --format"
        )
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        async with _asked(settings) as sightline:
            written = await sightline.export(
                part, format=cast(Literal["csv", "jsonl", "parquet"], form), words=words, limit=limit, only=only
            )
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    Console(stderr=True, markup=False, highlight=False).print(f"{file}: {written:,} bytes")
    return ExitCode.CLEAN


def is_image_file(what: str) -> bool:
    """Whether a file is meant rather than words. Raises `ConfigurationError` for what looks like one and is none."""
    with suppress(OSError):  # a text may be longer than any name
        if Path(what).is_file():
            return True
    if "/" in what or (not any(map(str.isspace, what)) and Path(what).suffix):
        raise ConfigurationError(f"{what} is no file; if these are words, give --text")
    return False


async def show_embedding(settings: Settings, given: Path | str) -> ExitCode:
    """Print the vector of an image's file or of a text, as JSON. Raises `OSError` for a file that cannot be read."""
    if isinstance(given, str):
        check_encoding(given)
    async with _asked(settings, embedding_client) as sightline:
        if isinstance(given, Path):
            answer = await sightline.embed_image(given)
            vector, model = answer.embedding, answer.model
        else:
            answers = await sightline.embed_texts([given])
            (vector,), model = answers.embeddings, answers.model
    print(json.dumps({"embedding": list(vector), "dimension": len(vector), "model": model}))
    return ExitCode.CLEAN
