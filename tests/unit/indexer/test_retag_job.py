"""`/v1/retag`: one run at a time, by the settings that are in force, in the process that holds the index."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from qdrant_client import AsyncQdrantClient

from runtime.log import Log
from schemas.errors import DependencyUnavailable
from schemas.events import Tag
from services.indexer.retag_job import RetagJob
from stores.qdrant_server import QdrantIndex
from stores.vectors import Vectors, Where
from tests.unit.indexer.tagging import AxisTagging, axis, axis_tags
from tests.unit.stores.index_points import METADATA, point

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")


class SlowTagging(AxisTagging):
    """Waits in its thread until it may go on."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.may = threading.Event()

    def tags(self, vectors: Vectors) -> Sequence[tuple[Tag, ...]]:
        assert self.may.wait(60)
        return super().tags(vectors)


@pytest.fixture
async def index() -> AsyncIterator[QdrantIndex]:
    client = AsyncQdrantClient(":memory:")
    async with QdrantIndex("images__m", client=client) as opened:
        await opened.ensure(METADATA)
        await opened.write([point(f"{n}.jpg", n, vector=axis(n), tags=("old",)) for n in range(20)])
        yield opened
    await client.close()


@asynccontextmanager
async def running(index: Any, tagging: AxisTagging | None) -> AsyncIterator[httpx.AsyncClient]:
    async def tagger() -> AxisTagging | None:
        return tagging

    job = RetagJob(index, tagger, collection="images__ours", settings="ours", log=Log("test"))
    app = FastAPI()
    app.include_router(job.router)
    stop = asyncio.Event()
    working = asyncio.create_task(job.run(stop))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://here") as client:
        try:
            yield client
        finally:
            stop.set()
            async with asyncio.timeout(10):
                await working


async def finished(client: httpx.AsyncClient) -> Any:
    async with asyncio.timeout(30):
        while True:
            answer = (await client.get("/v1/retag")).json()
            if answer["state"] != "running":
                return answer
            await asyncio.sleep(0.01)


async def test_a_run_is_asked_for_followed_and_told_of(index: QdrantIndex) -> None:
    async with running(index, AxisTagging("new")) as client:
        assert (await client.get("/v1/retag")).json()["state"] == "idle"
        assert (await client.post("/v1/retag", json={})).status_code == 202
        answer = await finished(client)
        assert (answer["state"], answer["done"], answer["total"], answer["left"]) == ("done", 20, 20, 0)
        assert answer["seconds"] > 0
        assert await index.count(Where(tags_not_of="version of new")) == 0
        await client.post("/v1/retag", json={"settings": "ours"})
        assert (await finished(client))["done"] == 0
        await client.post("/v1/retag", json={"everything": True})
        assert (await finished(client))["done"] == 20


async def test_a_second_request_is_shown_the_run_under_way(index: QdrantIndex) -> None:
    tagging = SlowTagging("new")
    async with running(index, tagging) as client:
        for _ in range(3):
            answer = (await client.post("/v1/retag", json={"everything": True})).json()
            assert (answer["state"], answer["done"], answer["total"]) == ("running", 0, 20)
        tagging.may.set()
        assert (await finished(client))["done"] == 20
        await asyncio.sleep(0.1)
        assert tagging.rows == 20


async def test_a_preview_counts_and_shows_and_changes_nothing(index: QdrantIndex) -> None:
    async with running(index, AxisTagging("new")) as client:
        answer = (await client.post("/v1/retag/preview", json={})).json()
        assert answer["outdated"] == 20
        assert len(answer["changes"]) == 5
        for change in answer["changes"]:
            assert [tag["tag"] for tag in change["before"]] == ["old"]
            number = int(change["key"].partition(".")[0])
            assert change["after"] == [tag.model_dump() for tag in axis_tags(axis(number), "new")]
        assert await index.count(Where(tags_not_of="version of new")) == 20


@pytest.mark.parametrize("path", ["/v1/retag", "/v1/retag/preview"])
async def test_what_cannot_be_done_is_refused_with_a_sentence(index: QdrantIndex, path: str) -> None:
    async with running(index, AxisTagging("new")) as client:
        other = await client.post(path, json={"settings": "theirs"})
        assert (other.status_code, "other settings" in other.json()["detail"]) == (409, True)
        page = await client.post(path, json={}, headers={"origin": "http://elsewhere"})
        assert page.status_code == 403
    async with running(index, None) as client:
        off = await client.post(path, json={})
        assert (off.status_code, "makes no tags" in off.json()["detail"]) == (409, True)
    assert await index.count(Where(tags_not_of="first")) == 0


async def test_an_index_that_goes_away_ends_the_run_and_the_next_one_does_the_rest(index: QdrantIndex) -> None:
    class Failing:
        calls = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(index, name)

        async def set_tags(self, news: Any) -> None:
            self.calls += 1
            if self.calls == 1:
                raise DependencyUnavailable("qdrant", "it went away", "Start it")
            await index.set_tags(news)

    async with running(Failing(), AxisTagging("new")) as client:
        await client.post("/v1/retag", json={})
        answer = await finished(client)
        assert answer["state"] == "failed"
        assert "it went away" in answer["detail"]
        await client.post("/v1/retag", json={})
        answer = await finished(client)
        assert (answer["state"], answer["done"], answer["detail"]) == ("done", 20, None)


async def test_a_stop_cuts_a_run_off(index: QdrantIndex) -> None:
    tagging = SlowTagging("new")
    async with running(index, tagging) as client:
        await client.post("/v1/retag", json={})
        threading.Timer(0.5, tagging.may.set).start()
    assert await index.count(Where(tags_not_of="version of new")) == 20


async def test_a_bug_stops_the_process(index: QdrantIndex) -> None:
    class Broken(AxisTagging):
        def tags(self, vectors: Vectors) -> Sequence[tuple[Tag, ...]]:
            raise ZeroDivisionError

    async def once() -> None:
        async with running(index, Broken("new")) as client:
            await client.post("/v1/retag", json={})
            await asyncio.sleep(0.2)

    with pytest.raises(ZeroDivisionError):
        await once()
