"""The embedding service of an image manager: its documented requests get their documented answers."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from tests.unit.search.conftest import LIMITS
from tests.unit.search.fakes import DIMENSION, FakeEngine, unit_vector


async def test_texts_are_embedded_in_order(client: httpx.AsyncClient) -> None:
    answer = await client.post("/embed/texts", json={"texts": ["a", "b", "a"]})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"embeddings", "dimension", "model", "version"}
    assert (body["dimension"], body["model"], body["version"]) == (DIMENSION, "tiny", "1.0")
    expected = [unit_vector(text) for text in ("a", "b", "a")]
    assert np.array_equal(np.array(body["embeddings"], dtype=np.float32), np.stack(expected))


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: text,
        lambda text: f"data:image/png;base64,{text}",
        lambda text: "\r\n".join(text[at : at + 8] for at in range(0, len(text), 8)),
    ],
    ids=["plain", "data URL", "MIME lines"],
)
async def test_an_image_in_base64_is_embedded(client: httpx.AsyncClient, dress: Any) -> None:
    data = b"IMG" + bytes(range(256))
    sent = dress(base64.b64encode(data).decode())
    answer = await client.post("/embed/image/base64", json={"image_base64": sent})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"embedding", "dimension", "model", "version"}
    assert (body["dimension"], body["model"], body["version"]) == (DIMENSION, "tiny", "1.0")
    assert np.array_equal(np.array(body["embedding"], dtype=np.float32), unit_vector(data))


async def test_no_texts_have_no_vectors(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    answer = await client.post("/embed/texts", json={"texts": []})
    assert answer.json()["embeddings"] == []
    assert engine.calls == 0


async def test_fields_that_are_not_known_and_a_missing_content_type_are_borne(client: httpx.AsyncClient) -> None:
    answer = await client.post("/embed/texts", content=b'{"texts": ["a"], "normalize": true}')
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "texts"),
        ({"texts": "a"}, "texts"),
        ({"texts": [1]}, "texts.0"),
        ({"texts": ["a", None]}, "texts.1"),
        ({"texts": ["a"] * (LIMITS.texts + 1)}, "texts"),
        ({"texts": ["a", "x" * (LIMITS.text_characters + 1)]}, "texts.1"),
        ({"text": "a"}, "texts"),
    ],
)
async def test_texts_that_cannot_be_embedded_are_named(client: httpx.AsyncClient, body: Any, field: str) -> None:
    answer = await client.post("/embed/texts", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_a_batch_beyond_the_limit_says_what_the_limit_is(client: httpx.AsyncClient) -> None:
    answer = await client.post("/embed/texts", json={"texts": ["a"] * 5})
    assert "it has 5 texts; at most 4 are embedded at once" in answer.json()["detail"]


@pytest.mark.parametrize("text", ["", "data:image/png;base64,", "no base64!", "abc", "====", "ü"])
async def test_what_is_no_base64_is_named(client: httpx.AsyncClient, text: str) -> None:
    answer = await client.post("/embed/image/base64", json={"image_base64": text})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "image_base64"


async def test_base64_of_no_image_is_a_bad_image_with_the_reason(client: httpx.AsyncClient) -> None:
    answer = await client.post("/embed/image/base64", json={"image_base64": base64.b64encode(b"text").decode()})
    assert answer.status_code == 422
    assert answer.json()["reason"] == "not_an_image"


async def test_an_image_in_base64_may_be_as_large_as_any_other_and_no_larger(client: httpx.AsyncClient) -> None:
    good = b"IMG" + b"x" * (LIMITS.image_bytes - 3)
    for data, status in ((good, 200), (good + b"x", 413), (good * 2, 413)):
        answer = await client.post("/embed/image/base64", json={"image_base64": base64.b64encode(data).decode()})
        assert answer.status_code == status
