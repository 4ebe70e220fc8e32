"""The search service over the real engine, the real decoder and the real store's code: no part is a fake."""

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO

import httpx
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from encoders.engine import EncoderEngine
from encoders.hashing import HashingEncoder
from runtime.probes import Probes
from services.search.api import create_app
from stores.qdrant_server import QdrantIndex
from tests.unit.search.conftest import client_of, image_point, made_for


def picture(red: int, kind: str = "PNG") -> bytes:
    image = Image.radial_gradient("L").convert("RGB")
    image.paste((red, 40, 200), (10, 10, 10 + red // 2, 120))
    target = BytesIO()
    image.save(target, kind)
    return target.getvalue()


@pytest.fixture
async def client(empty_index: QdrantIndex) -> AsyncIterator[httpx.AsyncClient]:
    async with EncoderEngine(HashingEncoder()) as engine:
        await empty_index.ensure(made_for(engine.encoder.identity))
        points = []
        for red in (20, 120, 220):
            vector = (await engine.embed_image(picture(red))).vector
            points.append(replace(image_point(f"{red}.png"), vector=vector))
        await empty_index.write(points)
        app = create_app(empty_index, engine, probes=Probes(), registry=CollectorRegistry())
        async with client_of(app) as client:
            yield client


async def test_a_picture_finds_itself_in_another_format_and_words_find_something(client: httpx.AsyncClient) -> None:
    for kind in ("PNG", "BMP", "TIFF"):
        answer = await client.post("/v1/search", files={"image": ("x.txt", picture(120, kind), "text/plain")})
        best = answer.json()["results"][0]
        assert best["key"] == "120.png"
        assert best["score"] == pytest.approx(1, abs=1e-5)
    assert len((await client.get("/v1/search?q=a+blue+box")).json()["results"]) == 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<!doctype html><p>404", "not_an_image"),
        (picture(20)[:-200], "decode_failed"),
        (b"\x89PNG\r\n\x1a\n", "decode_failed"),
        (b"%PDF-1.7 \n", "unsupported_format"),
    ],
)
async def test_what_is_no_whole_image_is_refused_with_its_reason(
    client: httpx.AsyncClient, data: bytes, reason: str
) -> None:
    answer = await client.post("/v1/search", files={"image": data})
    assert answer.status_code == 422
    assert answer.json()["reason"] == reason
    assert answer.json()["detail"].startswith("The image cannot be used: ")


async def test_an_embedded_image_and_embedded_texts_have_the_dimension_that_they_say(client: httpx.AsyncClient) -> None:
    sent = base64.b64encode(picture(20)).decode()
    image = (await client.post("/embed/image/base64", json={"image_base64": sent})).json()
    texts = (await client.post("/embed/texts", json={"texts": ["a", "b"]})).json()
    assert len(image["embedding"]) == image["dimension"] == texts["dimension"]
    assert [len(one) for one in texts["embeddings"]] == [texts["dimension"]] * 2
    assert sum(number**2 for number in image["embedding"]) == pytest.approx(1, abs=1e-5)
