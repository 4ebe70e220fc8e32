"""The embedding service of an image manager: its documented requests get their documented answers."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest

from encoders.encoder import Modality
from schemas.errors import ConfigurationError
from services.search.base64_images import AT_ONCE, decode_base64
from services.search.problems import Problem
from services.search.ranking.examples import SentImage, sent_image
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


async def meanwhile(work: Awaitable[Any]) -> tuple[Any, int]:
    """What comes of the work, and how often others had their turn while it went on."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    running = asyncio.create_task(others())
    done = await work
    running.cancel()
    return done, turns


async def test_a_large_image_holds_nobody_up_while_it_is_decoded_and_read() -> None:
    data = bytes(range(256)) * (8 * AT_ONCE // 256) + b"x"
    plain = base64.b64encode(data).decode()
    lines = "\r\n".join(plain[at : at + 76] for at in range(0, len(plain), 76))
    for sent in (plain, lines, f"data:image/png;base64,{plain}", plain + "\n" * AT_ONCE):
        decoded, turns = await meanwhile(decode_base64(sent, "image_base64"))
        assert decoded == data
        assert turns
    image, turns = await meanwhile(sent_image(data))
    assert image == SentImage(data)
    assert turns


@pytest.mark.parametrize(
    "spoil",
    [lambda text: text + "!", lambda text: text[:-1], lambda text: "!" + text, lambda text: f"AA==\n{text}"],
    ids=["at the end", "cut short", "at the beginning", "two in one"],
)
async def test_what_is_no_base64_in_any_piece_is_named(spoil: Callable[[str], str]) -> None:
    # As long as a piece or many; one begins where padding ends.
    for length in (3, 3 * AT_ONCE // 4 - 1, 3 * AT_ONCE // 4, 3 * AT_ONCE + 5):
        text = spoil(base64.b64encode(b"x" * length).decode())
        with pytest.raises(Problem) as raised:
            await decode_base64(text, "like.0.image_base64")
        assert raised.value.members["errors"][0]["field"] == "like.0.image_base64"  # type: ignore[index]
    padded = base64.b64encode(b"x" * (3 * AT_ONCE // 4 - 1)).decode()
    assert len(padded) == AT_ONCE
    with pytest.raises(Problem, match="after padding"):
        await decode_base64(padded + "AAAA", "image_base64")


async def test_base64_of_no_image_is_a_bad_image_with_the_reason(client: httpx.AsyncClient) -> None:
    answer = await client.post("/embed/image/base64", json={"image_base64": base64.b64encode(b"text").decode()})
    assert answer.status_code == 422
    assert answer.json()["reason"] == "not_an_image"


async def test_an_image_in_base64_may_be_as_large_as_any_other_and_no_larger(client: httpx.AsyncClient) -> None:
    good = b"IMG" + b"x" * (LIMITS.image_bytes - 3)
    for data, status in ((good, 200), (good + b"x", 413), (good * 2, 413)):
        answer = await client.post("/embed/image/base64", json={"image_base64": base64.b64encode(data).decode()})
        assert answer.status_code == status


# One path for two services: the request's shape tells


def vectors_of(*texts: str) -> list[Any]:
    return [[pytest.approx(number, abs=1e-7) for number in unit_vector(text).tolist()] for text in texts]


async def test_one_text_is_answered_with_its_model_and_several_bare(client: httpx.AsyncClient) -> None:
    one = (await client.post("/embed/text", json={"text": "a"})).json()
    assert one == {"embedding": vectors_of("a")[0], "dimension": DIMENSION, "model": "tiny", "version": "1.0"}
    several = (await client.post("/embed/text", json={"texts": ["a", "b"]})).json()
    assert several == {"embeddings": vectors_of("a", "b")}
    assert (await client.post("/embed/text", json={"texts": []})).json() == {"embeddings": []}
    assert (await client.post("/embed/text", json={"texts": ["a"], "text": None})).json() == {
        "embeddings": vectors_of("a")
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"text": "a", "texts": ["a"]}, "body"),
        ({"text": None}, "body"),
        ({"text": ["a"]}, "text"),
        ({"text": "x" * (LIMITS.text_characters + 1)}, "text"),
        ({"texts": ["a"] * (LIMITS.texts + 1)}, "texts"),
    ],
)
async def test_a_text_that_cannot_be_embedded_is_named(client: httpx.AsyncClient, body: Any, field: str) -> None:
    answer = await client.post("/embed/text", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_an_upload_is_answered_bare_or_with_its_model_by_path_and_field(client: httpx.AsyncClient) -> None:
    bare = await client.post("/embed", files={"image": ("x.jpg", b"IMG 1")})
    assert bare.json() == {"embedding": vectors_of("IMG 1")[0]}
    told = await client.post("/embed/image", files={"file": ("x.jpg", b"IMG 1")})
    assert told.json() == bare.json() | {"dimension": DIMENSION, "model": "tiny", "version": "1.0"}


@pytest.mark.parametrize(("path", "field"), [("/embed", "image"), ("/embed/image", "file")])
async def test_an_upload_that_cannot_be_embedded_is_a_problem(client: httpx.AsyncClient, path: str, field: str) -> None:
    missing = await client.post(path, files={"picture": b"IMG"})
    assert missing.status_code == 422
    assert missing.json()["errors"] == [
        {"field": field, "problem": f"the form has no such field. Send it like `curl -F {field}=@photo.jpg`."}
    ]
    assert (await client.post(path, files={field: b"text"})).json()["reason"] == "not_an_image"
    large = await client.post(path, files={field: b"IMG" + b"x" * LIMITS.image_bytes})
    assert large.status_code == 413
    beside = await client.post(path, files={"user": (None, "me"), field: b"IMG"})
    assert beside.status_code == 200, "other fields are ignored"


async def test_a_naked_picture_is_told_how_to_be_sent(client: httpx.AsyncClient) -> None:
    answer = await client.post("/embed/image", content=b"IMG", headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 415
    assert "curl -F file=@photo.jpg" in answer.json()["remedy"]


# Models that take only one of the two


@pytest.mark.parametrize(
    "send",
    [
        {"url": "/embed", "files": {"image": b"IMG"}},
        {"url": "/embed/image", "files": {"file": b"IMG"}},
        {"url": "/embed/image", "json": {"urls": ["https://example.org/1.jpg"]}},
        {"url": "/embed/image/base64", "json": {"image_base64": "SU1H"}},
        {"url": "/embed/mixed", "json": {"texts": [], "urls": ["https://example.org/1.jpg"]}},
    ],
    ids=lambda send: send["url"] if isinstance(send, dict) else None,
)
async def test_a_model_of_words_says_that_it_takes_no_images(
    client: httpx.AsyncClient, engine: FakeEngine, send: dict[str, Any]
) -> None:
    engine.encoder.modality = Modality.WORDS
    answer = await client.post(**send)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:sightline:problem:model-takes-no-images"
    assert answer.json()["detail"] == "The model tiny takes words only, so it gives images no vector."
    assert engine.calls == 0
    assert (await client.post("/embed/mixed", json={"texts": ["a"]})).status_code == 200


async def test_a_model_of_images_says_that_it_takes_no_words(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.encoder.modality = Modality.IMAGES
    engine.failure = ConfigurationError("it knows images only")
    for path, body in (("/embed/text", {"text": "a"}), ("/embed/texts", {"texts": ["a"]})):
        answer = await client.post(path, json=body)
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:sightline:problem:model-takes-no-words"
        assert "it knows images only" in answer.json()["detail"]
    engine.encoder.modality = Modality.IMAGES_AND_WORDS
    assert (await client.post("/embed/texts", json={"texts": ["a"]})).status_code == 503
