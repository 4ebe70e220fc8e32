"""Images by their URLs: one that fails has an empty embedding and a warning, and the rest go on."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from runtime.log import JsonFormatter
from runtime.probes import Probes
from schemas.errors import DependencyUnavailable
from services.search.service_app import embedding_app
from services.search.urls.url_images import UrlRefused
from services.search.vectors.url_embedding import AT_ONCE
from tests.unit.search.conftest import client_of
from tests.unit.search.fakes import FakeEngine, unit_vector


class Web:
    """URLs with their bytes; all others are refused. Counts what is fetched at a time."""

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self.pages = pages
        self.now = 0
        self.most = 0

    async def fetch(self, url: str) -> bytes:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            if url not in self.pages:
                raise UrlRefused
            return self.pages[url]
        finally:
            self.now -= 1


def client(engine: FakeEngine, web: Web) -> httpx.AsyncClient:
    return client_of(embedding_app(engine, probes=Probes(), registry=CollectorRegistry(), urls=web))


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
