"""Searches by examples that share the model's words and the turns of URLs with other requests."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from runtime.probes import Probes
from services.search.api import create_app
from services.search.limits import SearchLimits
from services.search.ranking.examples import REMEMBERED, Example, ExampleVectors, LinkedImage
from services.search.urls.linked_images import SHARE, WAITING, LinkedImages
from stores.vectors import StoredPoint
from tests.unit.search.conftest import client_of, image_point, made_for
from tests.unit.search.fakes import FakeEngine, FakeIndex
from tests.unit.search.slow_web import Web, hang_up_on, held, slow

IMAGE = "https://a.example/1.jpg"
PRIVATE = "http://10.0.0.1/"


@pytest.fixture
def web() -> Web:
    return Web({IMAGE: b"IMG 1"})


@pytest.fixture
async def index(engine: FakeEngine) -> FakeIndex:
    index = FakeIndex()
    await index.ensure(made_for(engine.encoder.identity))
    await index.write([image_point("1.jpg")])
    return index


def asking(index: FakeIndex, engine: FakeEngine, web: Web) -> httpx.AsyncClient:
    return client_of(create_app(index, engine, probes=Probes(), registry=CollectorRegistry(), urls=web))


async def no_stored(image: UUID) -> StoredPoint:
    raise NotImplementedError


def liked(urls: Sequence[str]) -> dict[str, Any]:
    return {"like": [{"url": url} for url in urls]}


class Waiting(FakeEngine):
    """A model that makes no words that end with a question mark before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may = asyncio.Event(), asyncio.Event()

    async def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if any(text.endswith("?") for text in texts):
            self.asked.set()
            await self.may.wait()
        return await super().embed_texts(texts)


async def test_words_that_are_known_are_not_forgotten_while_others_are_made(index: FakeIndex) -> None:
    engine = Waiting()
    async with asking(index, engine, Web({})) as client, asyncio.timeout(30):
        assert (await client.get("/v1/search", params={"q": "beach"})).status_code == 200
        both = {"like": [{"text": "beach"}, {"text": "new?"}]}
        searching = asyncio.create_task(client.post("/v1/search", json=both))
        await engine.asked.wait()
        for number in range(REMEMBERED):
            await client.get("/v1/search", params={"q": f"words {number}"})
        engine.may.set()
        assert (await searching).status_code == 200


async def test_slow_urls_of_searches_keep_nobody_elses_waiting(index: FakeIndex, engine: FakeEngine, web: Web) -> None:
    async with asking(index, engine, web) as client, held(client.post("/v1/search", json=liked(slow(32)))):
        await web.holds(SHARE)
        async with asyncio.timeout(10):
            assert (await client.post("/v1/search", json={"url": IMAGE})).status_code == 200
            assert (await client.post("/embed/image", json={"urls": [IMAGE]})).json()["embeddings"][0]
        assert web.now == SHARE


async def test_searches_of_one_key_take_turns_whatever_each_of_them_asked_for(
    index: FakeIndex, engine: FakeEngine, web: Web
) -> None:
    vectors = ExampleVectors(engine, no_stored, LinkedImages(web))
    many = [Example(LinkedImage(f"https://a.example/{number}")) for number in range(32)]
    web.pages = {**web.pages, **{f"https://a.example/{number}": b"IMG" for number in range(32)}}
    first = asyncio.create_task(vectors.vector(many, "one key"))
    await web.holds(SHARE)
    await vectors.vector([Example(LinkedImage(IMAGE))], "one key")
    assert web.asked.index(IMAGE) <= 3 * SHARE
    await first


async def test_when_too_many_urls_wait_a_search_is_refused_at_once(
    index: FakeIndex, engine: FakeEngine, web: Web
) -> None:
    limits = SearchLimits(urls=WAITING)
    app = create_app(index, engine, probes=Probes(), registry=CollectorRegistry(), urls=web, limits=limits)
    async with client_of(app) as client, held(client.post("/embed/image", json={"urls": slow(WAITING)})):
        await web.holds(SHARE)
        answered = await client.post("/v1/search", json={"url": IMAGE})
    assert answered.status_code == 429
    assert int(answered.headers["retry-after"]) >= 1
    assert f"{WAITING} URLs wait to be fetched" in answered.json()["detail"]


async def test_an_example_that_fails_ends_the_fetches_after_it(index: FakeIndex, engine: FakeEngine, web: Web) -> None:
    async with asking(index, engine, web) as client, asyncio.timeout(10):
        answered = await client.post("/v1/search", json=liked([PRIVATE, *slow(3)]))
    assert answered.status_code == 422
    assert answered.json()["errors"][0]["field"] == "like.0.url"
    assert web.now == 0


async def test_when_the_client_hangs_up_its_fetches_end(index: FakeIndex, engine: FakeEngine, web: Web) -> None:
    app = create_app(index, engine, probes=Probes(), registry=CollectorRegistry(), urls=web)
    await hang_up_on(app, "/v1/search", liked(slow(20)), web)
    assert web.now == 0
    assert len(web.asked) == SHARE
