"""The search API of a process, with what it says of itself."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI

from cli.parts import Parts
from runtime.probes import Probes
from runtime.release import RELEASE
from schemas.collection import Status
from services.search.answers import StatusAnswer
from services.search.api import create_app
from services.search.embedding import EmbeddingEngine
from services.search.one_image.parts import OneImage
from services.search.urls.url_images import UrlImages
from stores.vectors import VectorIndex, Where

if TYPE_CHECKING:
    from encoders.engine import EncoderEngine

StatusReport = Callable[[], Awaitable[StatusAnswer]]


def search_app(
    parts: Parts,
    index: VectorIndex,
    engine: EmbeddingEngine,
    probes: Probes,
    status: StatusReport,
    routers: Sequence[APIRouter] = (),
    *,
    urls: UrlImages | None = None,
    one_image: OneImage = OneImage(),
) -> FastAPI:
    """The search API over an entered index and engine, and what fetches images by URL if anything does."""
    return create_app(
        index,
        engine,
        probes=probes,
        registry=parts.registry,
        status=status,
        routers=routers,
        waiting=parts.settings.access.waiting,
        urls=urls,
        one_image=one_image,
        healthy=parts.settings.health_status,
    )


async def index_status(
    index: VectorIndex,
    engine: "EncoderEngine",
    *,
    runs: Sequence[str] = (),
    since: datetime | None = None,
    waiting: int | None = None,
    **more: Any,
) -> StatusAnswer:
    """Counts by status, the encoder, and what the caller knows besides."""
    identity = engine.encoder.identity
    counts = {status.value: await index.count(Where(status=status)) for status in Status}
    return StatusAnswer(
        release=RELEASE,
        runs=list(runs),
        since=since or datetime.now(UTC),
        model=identity.model,
        fingerprint=identity.fingerprint,
        device=engine.encoder.device,
        waiting=waiting,
        **counts,
        **{"dimension": identity.dimension, **more},
    )
