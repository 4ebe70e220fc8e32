from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from runtime.probes import Probes
from schemas.collection import CollectionMetadata, PointPayload, Status
from schemas.dead_letter import RejectReason
from schemas.events import point_id
from services.search.api import create_app
from services.search.limits import SearchLimits
from stores.vectors import Point
from tests.unit.search.fakes import FakeEngine, FakeIndex, unit_vector

LIMITS = SearchLimits(image_bytes=200_000, text_characters=100, texts=4, json_bytes=10_000)

MakeClient = Callable[[FastAPI], httpx.AsyncClient]


def image_point(key: str, **fields: object) -> Point:
    """A point of the bucket `images` on `s3`; an indexed one has the vector of the bytes `IMG <key>`."""
    known: dict[str, object] = {
        "source": "s3",
        "bucket": "images",
        "key": key,
        "status": Status.INDEXED,
        "version": 7,
        "model": "tiny",
        "fingerprint": "abc-def-fp32",
        "indexed_at": datetime(2024, 6, 1, tzinfo=UTC),
    }
    payload = PointPayload.model_validate(known | fields)
    vector = unit_vector(f"IMG {key}") if payload.status is Status.INDEXED else None
    return Point(point_id(payload.source, payload.bucket, payload.key), payload, vector)


def rejected(key: str) -> Point:
    return image_point(
        key, status=Status.REJECTED, etag="e2", reason=RejectReason.NOT_AN_IMAGE, detail="it looks like an HTML page"
    )


@pytest.fixture
async def index(engine: FakeEngine) -> FakeIndex:
    index = FakeIndex()
    await index.ensure(CollectionMetadata(encoder=engine.encoder.identity, created_at=datetime.now(UTC)))
    return index


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def app(index: FakeIndex, engine: FakeEngine, registry: CollectorRegistry) -> FastAPI:
    return create_app(index, engine, probes=Probes(), registry=registry, limits=LIMITS)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://search") as client:
        yield client
