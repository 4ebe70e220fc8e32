"""The same pages on the real indexes: Qdrant Edge in its process, and the server's store over Qdrant in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from runtime.probes import Probes
from schemas.collection import Status
from services.search.api import create_app
from stores.edge import EdgeIndex
from stores.qdrant_server import QdrantIndex
from stores.vectors import Point, VectorIndex
from tests.unit.search.conftest import client_of, image_point, made_for
from tests.unit.search.fakes import FakeEngine

DATED, UNDATED = 12, 5


@asynccontextmanager
async def _edge(folder: Path, engine: FakeEngine) -> AsyncIterator[EdgeIndex]:
    async with EdgeIndex(folder, "images__tiny") as index:
        await index.ensure(made_for(engine.encoder.identity))
        yield index


@pytest.fixture(params=["edge", "server"])
async def both(
    request: pytest.FixtureRequest, tmp_path: Path, engine: FakeEngine, index: QdrantIndex
) -> AsyncIterator[VectorIndex]:
    if request.param == "server":
        yield index
        return
    async with _edge(tmp_path, engine) as edge:
        yield edge


def _dated(number: int, **fields: object) -> Point:
    # Two images share each day.
    taken = datetime(2024, 5, 1, 10, tzinfo=UTC) + timedelta(days=number // 2)
    return image_point(f"{number}.jpg", taken_at=taken, **fields)


def _undated(number: int, **fields: object) -> Point:
    return image_point(f"undated{number}.jpg", **fields)


@pytest.fixture
async def client(both: VectorIndex, engine: FakeEngine) -> AsyncIterator[httpx.AsyncClient]:
    await both.write([*map(_dated, range(DATED)), *map(_undated, range(UNDATED))])
    async with client_of(create_app(both, engine, probes=Probes(), registry=CollectorRegistry())) as client:
        yield client


async def _page(
    client: httpx.AsyncClient, path: str, name: str, cursor: str | None, **options: str | int
) -> tuple[list[str], str | None]:
    answer = await client.get(path, params={**options, **({"cursor": cursor} if cursor else {})})
    assert answer.status_code == 200, answer.text
    return [one["key"] for one in answer.json()[name]], answer.json()["next_cursor"]


async def _pages(client: httpx.AsyncClient, path: str, name: str, **options: str | int) -> list[list[str]]:
    pages: list[list[str]] = []
    cursor: str | None = None
    while True:
        page, cursor = await _page(client, path, name, cursor, **options)
        pages.append(page)
        if cursor is None:
            return pages


def _in_order(newest_first: bool) -> list[str]:
    def place(point: Point) -> tuple[int, str]:
        assert point.payload.taken_at is not None
        day = point.payload.taken_at.toordinal()
        return (-day if newest_first else day, str(point.id))

    dated = sorted(map(_dated, range(DATED)), key=place)
    undated = sorted(map(_undated, range(UNDATED)), key=lambda point: str(point.id))
    return [point.payload.key for point in (*dated, *undated)]


@pytest.mark.parametrize("limit", [1, 4, 5, 12, 13, 17, 100])
@pytest.mark.parametrize("newest_first", [True, False])
async def test_a_listing_by_date_has_all_images_those_without_a_date_last(
    client: httpx.AsyncClient, limit: int, newest_first: bool
) -> None:
    sort = "newest_taken" if newest_first else "oldest_taken"
    pages = await _pages(client, "/v1/images", "images", sort=sort, limit=limit)
    assert [key for page in pages for key in page] == _in_order(newest_first)
    assert all(len(page) == limit for page in pages[:-1]), "only the last page may be short"
    assert pages[-1]


@pytest.mark.parametrize("options", [{"sort": "newest_taken"}, {"sort": "oldest_taken"}, {"sort": "id"}])
async def test_a_listing_holds_still_while_images_come_and_go(
    client: httpx.AsyncClient, both: VectorIndex, options: dict[str, str]
) -> None:
    seen: list[str] = []
    cursor: str | None = None
    for step in range(40):
        page, cursor = await _page(client, "/v1/images", "images", cursor, limit=3, **options)
        seen += page
        if cursor is None:
            break
        early = image_point(f"early{step}.jpg", taken_at=datetime(2000 + step, 1, 1, tzinfo=UTC))
        await both.write([early, image_point(f"late{step}.jpg", taken_at=datetime(2090, 1, 1, tzinfo=UTC))])
        await both.write([image_point(f"early{step}.jpg", status=Status.GONE, version=8)])
    assert set(_in_order(True)) <= set(seen)
    assert len(seen) == len(set(seen))


async def test_a_search_holds_still_while_images_come_and_go(client: httpx.AsyncClient, both: VectorIndex) -> None:
    seen: list[str] = []
    cursor: str | None = None
    for step in range(60):
        page, cursor = await _page(client, "/v1/search", "results", cursor, q="x", limit=3)
        seen += page
        if cursor is None:
            break
        if step < 20:
            await both.write([image_point(f"new{step}-{number}.jpg") for number in range(3)])
            await both.write([image_point(f"new{step}-0.jpg", status=Status.GONE, version=8)])
    assert cursor is None
    assert set(_in_order(True)) <= set(seen)
    assert len(seen) == len(set(seen))


async def test_a_cursor_of_another_listing_is_refused(client: httpx.AsyncClient) -> None:
    _, cursor = await _page(client, "/v1/images", "images", None, limit=3, sort="newest_taken")
    assert cursor is not None
    for other in ({"sort": "oldest_taken"}, {"sort": "id"}, {"sort": "newest_taken", "bucket": "images"}):
        answer = await client.get("/v1/images", params={**other, "cursor": cursor})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "cursor"
