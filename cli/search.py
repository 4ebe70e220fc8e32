"""`sightline search`: asks a running process, or opens the index itself; the answer is the same."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from rich.console import Console
from rich.table import Table

from cli.address import Address, find_running, key_headers
from cli.parts import Parts
from cli.within import Within
from runtime.lifecycle import ExitCode
from runtime.probes import Probes
from runtime.settings import Settings
from schemas.errors import ConfigurationError, SightlineError

if TYPE_CHECKING:
    from fastapi import FastAPI


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to search for: exactly one of words, image and like."""

    words: str | None = None
    image: Path | None = None
    like: str | None = None
    limit: int = 10
    threshold: float | None = None
    bucket: str | None = None
    prefix: str | None = None
    tag: str | None = None
    tag_score: float | None = None


@asynccontextmanager
async def search_client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the process that serves this data folder, or of the same application opened here."""
    running = find_running(settings.data_dir)
    if running is not None:
        async with _client_of(running, settings) as client:
            yield client
        return
    from cli.indexes import make_index
    from cli.models import make_engine
    from cli.one_image import one_image_of_settings
    from cli.originals import KnownStores
    from cli.serving import index_status, search_app

    parts = Parts.make(settings)
    async with make_index(parts) as index, make_engine(parts) as engine, KnownStores(settings) as stores:
        application = search_app(
            parts,
            index,
            engine,
            Probes(),
            lambda: index_status(index, engine),
            one_image=one_image_of_settings(settings, stores),
        )
        async with _client_within(application) as client:
            yield client


@asynccontextmanager
async def embedding_client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The same for vectors alone: what is opened here is the model, and no index."""
    running = find_running(settings.data_dir)
    if running is not None:
        async with _client_of(running, settings) as client:
            yield client
        return
    from cli.models import make_engine
    from services.search.service_app import embedding_app

    parts = Parts.make(settings)
    async with make_engine(parts) as engine:
        application = embedding_app(engine, probes=Probes(), registry=parts.registry)
        async with _client_within(application) as client:
            yield client


def _client_within(application: "FastAPI") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=Within(application), base_url="http://sightline")


@asynccontextmanager
async def _client_of(running: Address, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    headers = key_headers(settings)
    async with httpx.AsyncClient(base_url=running.url, timeout=60.0, trust_env=False, headers=headers) as client:
        try:
            yield client
        except httpx.HTTPError as error:
            raise SightlineError(f"{running.url} broke off ({error!r}); ask again") from error


def check_encoding(*given: str | None) -> None:
    """Raise `ConfigurationError` for words of the command line that are not UTF-8."""
    try:
        "".join(one or "" for one in given).encode()
    except UnicodeEncodeError:
        raise ConfigurationError("the question is not UTF-8; check the terminal's encoding") from None


async def search(settings: Settings, query: Query, *, as_json: bool) -> ExitCode:
    """Print the results of a query, best first."""
    if sum(given is not None for given in (query.words, query.image, query.like)) != 1:
        raise ConfigurationError("say what to look for: words, or --image FILE, or --like KEY, and only one of them")
    check_encoding(query.words, query.like, query.bucket, query.prefix, query.tag)
    if query.image is not None and not query.image.is_file():
        raise ConfigurationError(f"{query.image} is no file")
    async with search_client(settings) as client:
        answer = await _ask(client, query)
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        show_results(answer["results"], Console(markup=False, highlight=False))
    return ExitCode.CLEAN


async def _ask(client: httpx.AsyncClient, query: Query) -> Any:
    names = ("limit", "threshold", "bucket", "prefix", "tag", "tag_score")
    options = {name: getattr(query, name) for name in names}
    params = {name: value for name, value in options.items() if value is not None}
    if query.words is not None:
        response = await client.get("/v1/search", params={**params, "q": query.words})
    elif query.image is not None:
        files = {"image": (query.image.name, query.image.read_bytes(), "application/octet-stream")}
        response = await client.post("/v1/search", params=params, files=files)
    else:
        one = await _id_of(client, query.like or "", query.bucket)
        response = await client.post("/v1/search", params=params, json={"id": one})
    return answer_of(response)


async def _id_of(client: httpx.AsyncClient, key: str, bucket: str | None) -> str:
    params: dict[str, str | int] = {"prefix": key, "limit": 1000}
    if bucket:
        params["bucket"] = bucket
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        if cursor is not None:
            params["cursor"] = cursor
        page = answer_of(await client.get("/v1/images", params=params))
        found += [image for image in page["images"] if image["key"] == key]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if not found:
        raise SightlineError(f"{key} is not indexed; keys are written as in the bucket, for a folder below its root")
    if len(found) > 1:
        buckets = ", ".join(sorted(image["bucket"] for image in found))
        raise SightlineError(f"{key} is indexed in {buckets}; choose one with --bucket")
    return str(found[0]["id"])


def answer_of(response: httpx.Response) -> Any:
    """The JSON of an answer. Raises `SightlineError` with the sentence that a refusal carries."""
    if response.is_success:
        return response.json()
    try:
        problem = response.json()
        sentence = problem.get("detail") or problem.get("title")
        if response.status_code in (401, 403, 429) and problem.get("remedy"):
            sentence = f"{sentence} {problem['remedy']}"
    except (ValueError, AttributeError):
        sentence = response.text[:300]
    raise SightlineError(f"{response.request.url.path} answered {response.status_code}: {sentence}")


def show_results(results: list[dict[str, Any]], console: Console) -> None:
    """Print results as a table."""
    if not results:
        console.print("nothing found")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("score", "bucket", "key", "size", "taken"):
        table.add_column(name, justify="right" if name == "score" else "left", overflow="fold")
    for hit in results:
        payload = hit["payload"]
        size = f"{payload['width']}x{payload['height']}" if "width" in payload else ""
        taken = str(payload.get("taken_at", ""))[:10]
        table.add_row(f"{hit['score']:.3f}", hit["bucket"], hit["key"], size, taken)
    console.print(table)
