"""Every route of every app has been thought of, and the API's description says what each needs."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from prometheus_client import CollectorRegistry

from runtime.access.scopes import Door, Scope, rule_of
from runtime.probes import Probes
from services.search.api import create_app
from services.search.embedding import EmbeddingEngine
from services.search.limits import SearchLimits
from services.search.load import BoundedEngine, EngineFull
from services.search.service_app import embedding_app
from services.search.tagging.photo_roots import PhotoRoots
from services.search.tagging.photo_tagging import PhotoTagging
from services.search.tagging.tag_directory import DirectoryTagging
from services.search.tagging.tag_routes import tag_router
from stores.vectors import VectorIndex
from tests.unit.search.conftest import client_of, image_point
from tests.unit.search.fakes import FakeEngine, FakeImage

OPEN = {"/", "/page/{release}/{name:path}", "/docs", "/openapi.json", "/v1/access"}
PROBES = {"/livez", "/readyz", "/startupz", "/metrics", "/health"}
ADMIN = {"/v1/images/{id}/retry", "/v1/failures/retry"}


@pytest.fixture
def whole_app(index: VectorIndex, engine: FakeEngine) -> FastAPI:
    async def no_tagger(*_: object) -> Any:
        raise AssertionError("nothing is tagged here")

    tagging = PhotoTagging(engine, no_tagger, PhotoRoots([]))
    photos = tag_router(tagging, DirectoryTagging(tagging, None), SearchLimits())
    return create_app(index, engine, probes=Probes(), registry=CollectorRegistry(), routers=[photos])


def requests_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    for route in iter_route_contexts(app.routes):
        assert route.path, f"{route} is of a kind that no rule speaks of"
        assert route.methods, f"{route.path} answers to any method"
        for method in sorted(route.methods):
            yield method, route.path


def test_every_route_has_a_rule_of_its_own(whole_app: FastAPI) -> None:
    routes = list(requests_of(whole_app))
    assert len(routes) > 30
    forgotten = [(method, path) for method, path in routes if not rule_of(method, path).written]
    assert not forgotten, "runtime/access/scopes.py does not say what these need; until it does they need admin"


def test_what_is_open_and_what_is_for_administrators_is_this_and_no_more(whole_app: FastAPI) -> None:
    by_door: dict[object, set[str]] = {}
    for method, path in requests_of(whole_app):
        rule = rule_of(method, path)
        by_door.setdefault(rule.scope or rule.door, set()).add(path)
    assert by_door[Door.OPEN] == OPEN
    assert by_door[Door.PROBE] == PROBES
    assert by_door[Scope.ADMIN] == ADMIN
    assert all(path.startswith(("/v1/", "/api/")) for path in by_door[Scope.SEARCH])
    assert all(path.startswith(("/embed", "/tag/")) for path in by_door[Scope.EMBED])


@pytest.mark.parametrize("path", ["/v1/images/x/retry/", "/v1/images//retry", "/v1//search", "/V1/search", "/embedded"])
def test_what_only_looks_like_a_path_that_is_known_needs_admin(path: str) -> None:
    assert rule_of("POST", path).scope is Scope.ADMIN


def test_openapi_says_which_scope_each_operation_needs(whole_app: FastAPI) -> None:
    document = whole_app.openapi()
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert schemes["apiKey"]["name"] == "X-Api-Key"
    told = {
        (method.upper(), path): operation["security"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert told["GET", "/v1/search"] == [{"bearer": ["search"]}, {"apiKey": ["search"]}]
    assert told["POST", "/embed/text"] == [{"bearer": ["embed"]}, {"apiKey": ["embed"]}]
    assert told["POST", "/v1/images/{id}/retry"] == [{"bearer": ["admin"]}, {"apiKey": ["admin"]}]
    assert told["GET", "/livez"] == told["GET", "/v1/access"] == []
    assert {name for security in told.values() for one in security for name in one} == set(schemes)


async def test_without_a_gate_everybody_may_do_everything(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/access")).json() == {
        "required": False,
        "key": None,
        "scopes": ["admin", "embed", "ingest", "search"],
    }


# The model's queue


class SlowEngine(FakeEngine):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = asyncio.Event()
        self.inside = 0
        self.entered = asyncio.Condition()

    async def _wait(self) -> None:
        async with self.entered:
            self.inside += 1
            self.entered.notify_all()
        await self.goes_on.wait()

    async def holds(self, requests: int) -> None:
        async with self.entered:
            await self.entered.wait_for(lambda: self.inside >= requests)

    async def embed_image(self, data: bytes, *, key: str | None = None, urgent: bool = False) -> FakeImage:
        await self._wait()
        return await super().embed_image(data, key=key, urgent=urgent)

    async def embed_texts(self, texts: Sequence[str]) -> "np.typing.NDArray[np.float32]":
        await self._wait()
        return await super().embed_texts(texts)


@pytest.mark.parametrize("alone", [False, True], ids=["search", "serve"])
async def test_when_enough_waits_for_the_model_the_answer_is_429_at_once(index: VectorIndex, alone: bool) -> None:
    engine = SlowEngine()
    parts: dict[str, Any] = {"probes": Probes(), "registry": CollectorRegistry(), "waiting": 2}
    app = embedding_app(engine, **parts) if alone else create_app(index, engine, **parts)
    async with client_of(app) as client:

        async def image() -> httpx.Response:
            return await client.post("/embed", files={"image": ("a.jpg", b"IMG a")})

        async def text() -> httpx.Response:
            return await client.post("/embed/text", json={"text": "a beach"})

        held = [asyncio.create_task(image()), asyncio.create_task(text())]
        await engine.holds(2)
        for answer in (await image(), await text()):
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["type"] == "urn:sightline:problem:too-many-requests"
            assert "2 requests wait for the model" in answer.json()["detail"]
        if not alone:
            assert (await client.get("/v1/search?q=dogs")).status_code == 429
            await index.write([image_point("a.jpg")])
            by_id = {"id": str(image_point("a.jpg").id)}
            assert (await client.post("/v1/search", json=by_id)).status_code == 200, "it needs no model"
        engine.goes_on.set()
        assert [answer.status_code for answer in await asyncio.gather(*held)] == [200, 200]
        assert (await image()).status_code == 200


async def test_whoever_gives_up_makes_room() -> None:
    engine = SlowEngine()
    bounded: EmbeddingEngine = BoundedEngine(engine, 1)
    waiting = asyncio.create_task(bounded.embed_texts(["x"]))
    await engine.holds(1)
    with pytest.raises(EngineFull):
        await bounded.embed_image(b"IMG")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    engine.goes_on.set()
    assert (await bounded.embed_texts(["x"])).shape[0] == 1


async def test_a_batch_larger_than_the_bound_is_embedded_where_nobody_waits() -> None:
    engine = FakeEngine()
    bounded = BoundedEngine(engine, 2)
    assert (await bounded.embed_texts(["x"] * 256)).shape[0] == 256
    assert bounded.waiting == 0
    assert bounded.encoder is engine.encoder


async def test_routes_that_share_an_engine_share_its_bound() -> None:
    engine = SlowEngine()
    bounded = BoundedEngine.around(engine, 1)
    app = embedding_app(bounded, probes=Probes(), registry=CollectorRegistry(), waiting=100)
    async with client_of(app) as client:
        other = asyncio.create_task(bounded.embed_texts(["x"]))
        await engine.holds(1)
        assert (await client.post("/embed/text", json={"text": "x"})).status_code == 429
        engine.goes_on.set()
        await other
        assert (await client.post("/embed/text", json={"text": "x"})).status_code == 200
