import warnings
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from qdrant_client import AsyncQdrantClient

from runtime.probes import Probes
from schemas.collection import CollectionMetadata, PointPayload, Status
from schemas.dead_letter import RejectReason
from schemas.events import EncoderIdentity, point_id
from services.search.api import create_app
from services.search.limits import SearchLimits
from stores.qdrant_server import QdrantIndex
from stores.vectors import Point, VectorIndex
from tests.unit.search.fakes import FakeEngine, unit_vector

LIMITS = SearchLimits(image_bytes=200_000, text_characters=100, texts=4, json_bytes=10_000)


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


def made_for(encoder: EncoderIdentity) -> CollectionMetadata:
    return CollectionMetadata(encoder=encoder, created_at=datetime.now(UTC))


@pytest.fixture
async def empty_index() -> AsyncIterator[QdrantIndex]:
    """The store's real code, over a server in memory; there is no collection yet."""
    client = AsyncQdrantClient(":memory:")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Payload indexes have no effect in the local Qdrant")
        async with QdrantIndex("images__tiny", client=client) as index:
            yield index
    await client.close()


@pytest.fixture
async def index(empty_index: QdrantIndex, engine: FakeEngine) -> QdrantIndex:
    await empty_index.ensure(made_for(engine.encoder.identity))
    return empty_index


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def app(index: VectorIndex, engine: FakeEngine, registry: CollectorRegistry) -> FastAPI:
    return create_app(index, engine, probes=Probes(), registry=registry, limits=LIMITS)


def client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://search")


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client
