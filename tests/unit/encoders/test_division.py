"""One text or one image is not divided among threads that would take longer to wake than to help."""

import asyncio
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from encoders.catalogue import SMALL
from encoders.encoder import Modality, Prepared, Vectors
from encoders.engine import EncoderEngine
from encoders.registry import make_encoder
from tests.unit.encoders.recording import RecordingEncoder
from tests.unit.encoders.test_engine import one_colour


class DividedEncoder(RecordingEncoder):
    """An encoder of four threads whose passes take as long as `seconds` says for so many of them."""

    modality = Modality.IMAGES_AND_WORDS
    threads = 4

    def __init__(self, **seconds: dict[int, float]) -> None:
        super().__init__()
        self.seconds = seconds
        self.made: list[tuple[str, int, int]] = []
        self._of = threading.local()

    def divide(self, threads: int) -> None:
        """Remembered for the calling thread."""
        self._of.threads = threads

    def forward(self, batch: Sequence[Prepared]) -> Vectors:
        """As slow as it was told."""
        self._pass("images", len(batch))
        return super().forward(batch)

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """As slow as it was told."""
        self._pass("words", len(texts))
        return super().encode_text(texts)

    def _pass(self, kind: str, count: int) -> None:
        threads = getattr(self._of, "threads", self.threads)
        self.made.append((kind, count, threads))
        time.sleep(self.seconds[kind][threads])


async def passes(encoder: DividedEncoder) -> list[tuple[str, int, int]]:
    """What was asked of it after it had been loaded: a text, two texts, an urgent image, and a batch of two."""
    async with EncoderEngine(encoder, batch_size=2, max_wait_seconds=5) as engine:
        encoder.made.clear()
        await engine.embed_texts(["one"])
        await engine.embed_texts(["one", "two"])
        await engine.embed_image(one_colour(1), urgent=True)
        first, second = engine.embed_image(one_colour(2)), engine.embed_image(one_colour(3))
        await asyncio.gather(first, second)
    return encoder.made


async def test_what_is_quicker_in_one_thread_has_one_and_batches_keep_all() -> None:
    encoder = DividedEncoder(words={1: 0.002, 4: 0.006}, images={1: 0.05, 4: 0.04})
    assert await passes(encoder) == [("words", 1, 1), ("words", 2, 4), ("images", 1, 1), ("images", 2, 4)]


async def test_what_gains_much_is_divided() -> None:
    encoder = DividedEncoder(words={1: 0.02, 4: 0.005}, images={1: 0.02, 4: 0.005})
    assert await passes(encoder) == [("words", 1, 4), ("words", 2, 4), ("images", 1, 4), ("images", 2, 4)]


async def test_a_long_pass_is_not_tried_in_one_thread() -> None:
    encoder = DividedEncoder(words={4: 0.25}, images={1: 0.002, 4: 0.006})
    assert await passes(encoder) == [("words", 1, 4), ("words", 2, 4), ("images", 1, 1), ("images", 2, 4)]


@pytest.mark.skipif(torch.get_num_threads() < 2, reason="this machine has one processor")
async def test_a_real_model_computes_the_same_in_one_thread() -> None:
    encoder = make_encoder(SMALL, device="cpu")
    async with EncoderEngine(encoder) as engine:
        words = await engine.embed_texts(["a red apple"])
    encoder.divide(encoder.threads)  # type: ignore[attr-defined]
    np.testing.assert_allclose(words, encoder.encode_text(["a red apple"]), atol=1e-6)
    assert torch.get_num_threads() == encoder.threads  # type: ignore[attr-defined]
