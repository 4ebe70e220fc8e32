"""Requests to embed that come at once go through the model together."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import CollectorRegistry

from encoders.encoder import Prepared, Vectors
from encoders.engine import EncoderEngine
from encoders.hashing import HashingEncoder
from runtime.probes import Probes
from services.search.service_app import embedding_app
from tests.unit.search.conftest import client_of

REQUESTS = 16


class Held(HashingEncoder):
    """Counts forward passes; the first one that counts waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.counts = False
        self.reached, self.opened = threading.Event(), threading.Event()

    def forward(self, batch: Sequence[Prepared]) -> Vectors:
        """The vectors."""
        self._pass(len(batch))
        return super().forward(batch)

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """The vectors."""
        self._pass(len(texts))
        return super().encode_text(texts)

    def _pass(self, size: int) -> None:
        if self.counts:
            self.sizes.append(size)
            self.reached.set()
            assert self.opened.wait(30)


def picture(number: int) -> bytes:
    target = BytesIO()
    Image.new("RGB", (16, 16), (number * 10, 40, 200)).save(target, "PNG")
    return target.getvalue()


def vectors(answers: Sequence[Any]) -> NDArray[np.float64]:
    return np.array([answer.get("embedding") or answer["embeddings"][0] for answer in answers])


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(30_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen within thirty seconds")


Ask = Callable[[httpx.AsyncClient, int], Coroutine[Any, Any, httpx.Response]]


async def upload(client: httpx.AsyncClient, number: int) -> httpx.Response:
    return await client.post("/embed", files={"image": picture(number)})


async def upload_with_model(client: httpx.AsyncClient, number: int) -> httpx.Response:
    return await client.post("/embed/image", files={"file": picture(number)})


async def text(client: httpx.AsyncClient, number: int) -> httpx.Response:
    return await client.post("/embed/text", json={"text": f"boat {number}"})


async def texts(client: httpx.AsyncClient, number: int) -> httpx.Response:
    return await client.post("/embed/texts", json={"texts": [f"boat {number}"]})


@pytest.mark.parametrize("ask", [upload, upload_with_model, text, texts])
async def test_sixteen_requests_at_once_make_two_forward_passes(ask: Ask) -> None:
    encoder = Held()
    async with EncoderEngine(encoder, batch_size=32) as engine:
        app = embedding_app(engine, probes=Probes(), registry=CollectorRegistry())
        async with client_of(app) as client:
            alone = [(await ask(client, number)).json() for number in range(REQUESTS)]
            encoder.counts = True
            first = asyncio.create_task(ask(client, 0))
            assert await asyncio.to_thread(encoder.reached.wait, 30)
            others = [asyncio.create_task(ask(client, number)) for number in range(1, REQUESTS)]
            await until(lambda: engine.waiting == REQUESTS - 1)
            encoder.opened.set()
            together = [one.json() for one in await asyncio.gather(first, *others)]
    assert encoder.sizes == [1, REQUESTS - 1]
    # A sum in a larger matrix is rounded elsewhere.
    assert np.allclose(vectors(together), vectors(alone), atol=1e-5), "everybody has the vector of what they sent"
    assert len(np.unique(vectors(alone).round(4), axis=0)) == REQUESTS
