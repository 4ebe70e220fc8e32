"""Searches by several examples at once: liked and unliked words, images, URLs and indexed images, with weights."""

import base64
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from runtime.probes import Probes
from services.search.api import create_app
from services.search.problems import Problem
from services.search.ranking.examples import combined
from services.search.urls.url_images import UrlRefused
from stores.vectors import Vector
from tests.unit.search.conftest import LIMITS, client_of, image_point, made_for
from tests.unit.search.fakes import FakeEngine, FakeIndex, unit_vector

KEYS = [f"{number}.jpg" for number in range(12)]


class FakeWeb:
    """Knows a few URLs."""

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self.pages = pages

    async def fetch(self, url: str) -> bytes:
        if url not in self.pages:
            raise UrlRefused
        return self.pages[url]


@pytest.fixture
async def index(engine: FakeEngine) -> FakeIndex:
    index = FakeIndex()
    await index.ensure(made_for(engine.encoder.identity))
    await index.write([image_point(key) for key in KEYS])
    return index


@pytest.fixture
async def client(index: FakeIndex, engine: FakeEngine) -> AsyncIterator[httpx.AsyncClient]:
    web = FakeWeb({"https://x.org/a.jpg": b"IMG 1.jpg", "https://x.org/page": b"<html>"})
    app = create_app(index, engine, probes=Probes(), registry=CollectorRegistry(), limits=LIMITS, urls=web)
    async with client_of(app) as client:
        yield client


def _vector(key: str) -> Vector:
    return unit_vector(f"IMG {key}")


async def _scores(client: httpx.AsyncClient, **request: Any) -> dict[str, float]:
    answer = await client.post("/v1/search", **request)
    assert answer.status_code == 200, answer.text
    return {one["key"]: one["score"] for one in answer.json()["results"]}


def _expected(*weighted: tuple[Vector, float]) -> dict[str, float]:
    total = sum((weight * vector.astype(np.float64) for vector, weight in weighted), np.zeros(16))
    unit = total / np.linalg.norm(total)
    return {key: float(unit @ _vector(key)) for key in KEYS}


async def test_the_score_is_the_cosine_with_the_weighted_sum_of_what_is_liked_less_what_is_not(
    client: httpx.AsyncClient,
) -> None:
    sent = base64.b64encode(b"IMG 2.jpg").decode()
    body = {
        "like": [{"text": "beach", "weight": 2}, {"url": "https://x.org/a.jpg"}, {"image_base64": sent, "weight": 0.5}],
        "unlike": [{"text": "people", "weight": 1.5}],
    }
    weighted = [
        (unit_vector("beach"), 2),
        (_vector("1.jpg"), 1),
        (_vector("2.jpg"), 0.5),
        (unit_vector("people"), -1.5),
    ]
    assert await _scores(client, json=body) == pytest.approx(_expected(*weighted), abs=1e-5)


async def test_weights_follow_their_examples_whatever_kinds_are_mixed(client: httpx.AsyncClient) -> None:
    like = [{"url": "https://x.org/a.jpg", "weight": 3}, {"text": "beach"}, {"id": str(image_point("5.jpg").id)}]
    found = await _scores(client, json={"like": like})
    expected = _expected((_vector("1.jpg"), 3), (unit_vector("beach"), 1), (_vector("5.jpg"), 1))
    assert found == pytest.approx({key: score for key, score in expected.items() if key != "5.jpg"}, abs=1e-5)


async def test_an_image_and_words_beside_it_count_alike(client: httpx.AsyncClient) -> None:
    form = {"image": ("a.jpg", b"IMG 1.jpg"), "text": (None, " beach ")}
    expected = _expected((_vector("1.jpg"), 1), (unit_vector("beach"), 1))
    assert await _scores(client, files=form) == pytest.approx(expected, abs=1e-5)


async def test_indexed_images_that_are_liked_or_unliked_are_left_out(client: httpx.AsyncClient) -> None:
    like, unlike = image_point("1.jpg").id, image_point("2.jpg").id
    found = await _scores(client, json={"like": [{"id": str(like)}], "unlike": [{"id": str(unlike)}]})
    assert set(found) == set(KEYS) - {"1.jpg", "2.jpg"}


@pytest.mark.parametrize(
    "body", [{"url": "https://x.org/a.jpg"}, {"image_base64": base64.b64encode(b"IMG 1.jpg").decode()}]
)
async def test_an_image_is_found_by_its_url_and_by_base64(client: httpx.AsyncClient, body: dict[str, str]) -> None:
    best = (await client.post("/v1/search", json=body)).json()["results"][0]
    assert best["key"] == "1.jpg"
    assert best["score"] == pytest.approx(1)


async def test_words_with_unlike_need_no_list(client: httpx.AsyncClient) -> None:
    short = await _scores(client, json={"text": "beach", "unlike": [{"text": "people"}]})
    assert short == await _scores(client, json={"like": [{"text": "beach"}], "unlike": [{"text": "people"}]})


async def test_examples_that_cancel_out_are_refused(client: httpx.AsyncClient) -> None:
    for body in (
        {"text": "x", "unlike": [{"text": "x"}]},
        {"like": [{"text": "x", "weight": 2}], "unlike": [{"text": "x"}, {"text": "x"}]},
    ):
        answer = await client.post("/v1/search", json=body)
        assert answer.status_code == 422
        assert "cancel out" in answer.json()["detail"]


async def test_a_url_is_refused_where_none_are_fetched(index: FakeIndex, engine: FakeEngine) -> None:
    app = create_app(index, engine, probes=Probes(), registry=CollectorRegistry(), limits=LIMITS)
    async with client_of(app) as client:
        answer = await client.post("/v1/search", json={"like": [{"text": "x"}, {"url": "https://x.org/a.jpg"}]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "like.1.url"
    assert "no images from URLs" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "https://x.org/else"}, "url"),
        ({"url": "https://x.org/page"}, "url"),
        ({"image_base64": base64.b64encode(b"<html>").decode()}, "image_base64"),
        ({"image_base64": "%%%"}, "image_base64"),
        ({"image_base64": ""}, "image_base64"),
        ({"like": [{"text": "x"}, {"url": "https://x.org/page"}]}, "like.1.url"),
        ({"text": "x", "unlike": [{"url": "https://x.org/else"}]}, "unlike.0.url"),
        ({"like": [{"text": " "}]}, "like.0.text"),
        ({"like": []}, "like"),
        ({"like": [{}]}, "like.0"),
        ({"like": [{"text": "x", "url": "https://x.org/a.jpg"}]}, "like.0"),
        ({"like": [{"text": "x", "weight": 0}]}, "like.0.weight"),
        ({"like": [{"text": "x", "weight": -1}]}, "like.0.weight"),
        ({"like": [{"text": "x", "weight": 1000}]}, "like.0.weight"),
        ({"unlike": [{"text": "x"}]}, "body"),
        ({"text": "x", "like": [{"text": "y"}]}, "body"),
        ({"like": [{"text": "x"}] * (LIMITS.examples + 1)}, "like"),
    ],
)
async def test_an_example_that_cannot_be_used_is_named_by_its_path(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await client.post("/v1/search", json=body)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_an_image_in_base64_that_is_too_large_is_a_413(client: httpx.AsyncClient) -> None:
    sent = base64.b64encode(b"IMG" + bytes(LIMITS.image_bytes)).decode()
    assert (await client.post("/v1/search", json={"image_base64": sent})).status_code == 413


async def test_the_words_of_one_search_are_embedded_together_and_not_again_for_the_next_page(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    body = {"like": [{"text": "a"}, {"text": "b"}], "unlike": [{"text": "c"}]}
    first = (await client.post("/v1/search?limit=5", json=body)).json()
    assert engine.calls == 1
    await client.post("/v1/search?limit=5", params={"cursor": first["next_cursor"]}, json=body)
    assert engine.calls == 1


@given(
    examples=st.lists(
        st.tuples(st.integers(0, 5), st.floats(0.01, 100), st.sampled_from([1, -1])), min_size=1, max_size=5
    )
)
def test_a_combination_has_unit_length_and_the_direction_of_the_sum_or_is_refused(
    examples: list[tuple[int, float, int]],
) -> None:
    vectors = [unit_vector(f"v{number}") for number, _, _ in examples]
    weights = [weight * sign for _, weight, sign in examples]
    total = sum(
        (weight * vector.astype(np.float64) for vector, weight in zip(vectors, weights, strict=True)), np.zeros(16)
    )
    try:
        vector = combined(vectors, weights)
    except Problem:
        assert np.linalg.norm(total) < 1e-2 * sum(map(abs, weights))
        return
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert float(vector @ total) == pytest.approx(float(np.linalg.norm(total)), rel=1e-2)
