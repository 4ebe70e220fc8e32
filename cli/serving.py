"""The HTTP side of a process: answers from the first moment, with the whole API once everything is loaded."""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

from cli.parts import Parts
from encoders.engine import EncoderEngine
from runtime.http import AsgiApp
from runtime.probes import Probes
from schemas.collection import Status
from services.search.app import create_app
from stores.vectors import VectorIndex, Where

StatusReport = Callable[[], Awaitable[dict[str, Any]]]


class Front:
    """An ASGI app that hands requests to another one, which may be replaced while it serves.

    Probes must be answered while a model loads, which takes minutes for the large ones.
    """

    def __init__(self, app: AsgiApp) -> None:
        self.app = app

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer by the app of this moment."""
        await self.app(scope, receive, send)


def search_app(
    parts: Parts,
    index: VectorIndex,
    engine: EncoderEngine,
    probes: Probes,
    status: StatusReport,
    routers: tuple[APIRouter, ...] = (),
) -> FastAPI:
    """The search API over an entered index and engine."""
    return create_app(
        index=index,
        embedder=engine,
        registry=parts.registry,
        probes=probes,
        status=status,
        routers=routers,
    )


async def index_status(index: VectorIndex, engine: EncoderEngine | None) -> dict[str, Any]:
    """Counts by status and the encoder; the part of the status that every process with an index knows."""
    stored = await index.metadata()
    encoder = engine.encoder.identity if engine is not None else stored.encoder if stored else None
    return {
        "encoder": encoder.model_dump() if encoder else None,
        "device": engine.encoder.device if engine is not None else None,
        "counts": {status.value: await index.count(Where(status=status)) for status in Status},
    }


@asynccontextmanager
async def search_only(parts: Parts) -> AsyncIterator[FastAPI]:
    """The search API over the data folder's own index, for a command that finds nobody running."""
    async with parts.index() as index, parts.engine() as engine:

        async def status() -> dict[str, Any]:
            return await index_status(index, engine)

        yield search_app(parts, index, engine, Probes(), status)
