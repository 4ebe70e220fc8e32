"""Images by their URLs: one that fails has an empty embedding and a warning, and the rest go on."""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from runtime.log import JsonFormatter
from runtime.probes import Probes
from schemas.errors import DependencyUnavailable
from services.search.limits import SearchLimits
from services.search.load import EngineFull
from services.search.service_app import embedding_app
from services.search.urls.linked_images import AT_ONCE, SHARE, WAITING, LinkedImages
from services.search.vectors.url_embedding import UrlEmbedder
from tests.unit.search.conftest import client_of
from tests.unit.search.fakes import FakeEngine, unit_vector
from tests.unit.search.slow_web import Web, hang_up_on, held, slow


def client(engine: FakeEngine, web: Web, limits: SearchLimits = SearchLimits()) -> httpx.AsyncClient:
    return client_of(embedding_app(engine, probes=Probes(), registry=CollectorRegistry(), urls=web, limits=limits))


def expected(*bodies: str | None) -> list[Any]:
    return [[] if body is None else pytest.approx(unit_vector(body).tolist(), abs=1e-7) for body in bodies]


WEB = {"https://a.example/1.jpg": b"IMG 1", "https://a.example/2.jpg": b"IMG 2", "https://a.example/page": b"<html>"}
ASKED = ["https://a.example/1.jpg", "http://10.0.0.1/", "https://a.example/page", "https://a.example/2.jpg"]


async def test_a_url_that_fails_has_an_empty_embedding_and_the_rest_go_on(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(engine, Web(WEB)) as asking:
        answered = await asking.post("/embed/image", json={"urls": ASKED})
    assert answered.status_code == 200
    assert answered.json() == {"embeddings": expected("IMG 1", None, None, "IMG 2")}
    (warned,) = [record for record in caplog.records if vars(record).get("action") == "urls_without_embedding"]
    assert warned.levelno == logging.WARNING
    assert vars(warned)["fields"] == {"positions": [1, 2]}


async def test_texts_and_urls_go_together(engine: FakeEngine) -> None:
    async with client(engine, Web(WEB)) as asking:
        answered = await asking.post("/embed/mixed", json={"texts": ["a", "b"], "urls": ASKED[:2]})
        assert answered.json() == {"text_embeddings": expected("a", "b"), "image_embeddings": expected("IMG 1", None)}
        nothing: list[Any] = [{}, {"texts": [], "urls": []}]
        for body in nothing:
            answered = await asking.post("/embed/mixed", json=body)
            assert answered.json() == {"text_embeddings": [], "image_embeddings": []}


async def test_no_urls_have_no_embeddings_and_too_many_are_refused(engine: FakeEngine) -> None:
    async with client(engine, Web(WEB)) as asking:
        assert (await asking.post("/embed/image", json={"urls": []})).json() == {"embeddings": []}
        answered = await asking.post("/embed/image", json={"urls": ["x"] * 257})
        assert answered.status_code == 422
        assert answered.json()["errors"][0]["field"] == "urls"
        answered = await asking.post("/embed/image", json={"url": "x"})
        assert answered.json()["errors"] == [{"field": "urls", "problem": "it is missing"}]


async def test_a_model_that_is_away_is_no_fault_of_a_url(engine: FakeEngine) -> None:
    engine.failure = DependencyUnavailable("replicate", "it does not answer", "Wait")
    async with client(engine, Web(WEB)) as asking:
        assert (await asking.post("/embed/image", json={"urls": ASKED})).status_code == 503


async def test_only_a_few_are_in_hand_at_a_time_over_all_requests(engine: FakeEngine) -> None:
    web = Web({f"https://a.example/{n}": b"IMG %d" % n for n in range(200)})
    async with client(engine, web) as asking:
        halves: Sequence[list[str]] = (list(web.pages)[:100], list(web.pages)[100:])
        answers = await asyncio.gather(*(asking.post("/embed/image", json={"urls": urls}) for urls in halves))
    assert [len(one.json()["embeddings"]) for one in answers] == [100, 100]
    assert answers[1].json()["embeddings"][7] == expected("IMG 107")[0]
    assert web.most == AT_ONCE


# Slow servers


async def test_one_request_with_many_slow_urls_does_not_keep_others_waiting(engine: FakeEngine) -> None:
    web = Web(WEB)
    async with client(engine, web) as asking, held(asking.post("/embed/image", json={"urls": slow(256)})):
        await web.holds(SHARE)
        async with asyncio.timeout(10):
            answered = await asking.post("/embed/image", json={"urls": ASKED})
        assert answered.json() == {"embeddings": expected("IMG 1", None, None, "IMG 2")}
        assert web.now == SHARE < AT_ONCE


async def test_several_requests_of_one_key_have_no_more_than_one(engine: FakeEngine) -> None:
    web = Web(WEB)
    embedder = UrlEmbedder(engine, LinkedImages(web))
    async with held(*(embedder.embed(slow(20), "greedy") for _ in range(9))):
        await web.holds(SHARE)
        async with asyncio.timeout(10):
            assert await embedder.embed(ASKED, "modest") == expected("IMG 1", None, None, "IMG 2")
        assert web.now == SHARE
    assert web.now == 0, "whoever gives up leaves no fetch behind"
    assert len(await embedder.embed(ASKED, "greedy")) == len(ASKED)


async def test_when_too_many_urls_wait_the_answer_is_429_at_once(engine: FakeEngine) -> None:
    web = Web(WEB)
    async with client(engine, web, SearchLimits(urls=WAITING)) as asking:
        async with held(asking.post("/embed/image", json={"urls": slow(WAITING)})):
            await web.holds(SHARE)
            answered = await asking.post("/embed/mixed", json={"texts": ["a"], "urls": ASKED})
            assert answered.status_code == 429
            assert int(answered.headers["retry-after"]) >= 1
            assert answered.json()["type"] == "urn:sightline:problem:too-many-requests"
            assert f"{WAITING} URLs wait to be fetched" in answered.json()["detail"]
        assert (await asking.post("/embed/image", json={"urls": ASKED})).status_code == 200


async def test_one_key_may_have_half_of_what_waits(engine: FakeEngine) -> None:
    web = Web(WEB)
    embedder = UrlEmbedder(engine, LinkedImages(web, waiting=2 * SHARE + 2))
    async with held(embedder.embed(slow(SHARE), "greedy")):
        await web.holds(SHARE)
        with pytest.raises(EngineFull, match=f"{SHARE} URLs of this caller wait"):
            await embedder.embed(ASKED[:2], "greedy")
        assert len(await embedder.embed(ASKED, "modest")) == len(ASKED)


# A request that is over


@pytest.mark.parametrize(
    ("texts", "failure", "status"),
    [(["a"] * 257, None, 422), (["a"], DependencyUnavailable("model", "it is away", "Wait"), 503)],
    ids=["too many texts", "a model that is away"],
)
async def test_no_url_is_fetched_any_more_for_texts_that_fail(
    engine: FakeEngine, texts: list[str], failure: Exception | None, status: int
) -> None:
    web = Web(WEB)
    engine.failure = failure
    async with client(engine, web) as asking, asyncio.timeout(10):
        answered = await asking.post("/embed/mixed", json={"texts": texts, "urls": slow(20)})
    assert answered.status_code == status, "not one of several errors, or of the URLs"
    assert web.now == 0
    assert len(web.asked) <= SHARE
    assert failure or not web.asked, "what is known to fail begins nothing"


async def test_a_url_that_meets_a_model_that_is_away_ends_the_other_fetches(engine: FakeEngine) -> None:
    web = Web(WEB)
    engine.failure = DependencyUnavailable("model", "it is away", "Wait")
    async with client(engine, web) as asking, asyncio.timeout(10):
        answered = await asking.post("/embed/image", json={"urls": [*slow(SHARE - 1), ASKED[0], *slow(20)]})
    assert answered.status_code == 503
    assert web.now == 0
    assert web.asked == [*slow(SHARE - 1), ASKED[0]]


@pytest.mark.parametrize("path", ["/embed/image", "/embed/mixed"])
async def test_when_the_client_hangs_up_its_fetches_end(engine: FakeEngine, path: str) -> None:
    web = Web(WEB)
    app = embedding_app(engine, probes=Probes(), registry=CollectorRegistry(), urls=web)
    await hang_up_on(app, path, {"urls": slow(20)}, web)
    assert web.now == 0
    assert len(web.asked) == SHARE


# Names


async def test_the_name_at_the_end_of_a_url_is_the_images_name(engine: FakeEngine) -> None:
    url = "https://a.example/shoes/red_shoe.jpg?token=secret"
    async with client(engine, Web({url: b"IMG"})) as asking:
        await asking.post("/embed/image", json={"urls": [url]})
    assert engine.keys == ["red_shoe.jpg"]


async def test_nothing_of_a_url_is_logged_here_that_may_be_a_key(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    url = "https://a.example/page?X-Amz-Signature=secret"
    async with client(engine, Web({url: b"<html>"})) as asking:
        await asking.post("/embed/image", json={"urls": [url, f"{url}2"]})
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert len([line for line in lines if json.loads(line)["level"] == "warning"]) == 2
    assert not [line for line in lines if "secret" in line]
