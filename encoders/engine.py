"""One model shared by everybody in the process: images decoded in threads, embedded in batches, matched to callers."""

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from encoders.batches import Answer, BatchQueue, ImageRequest, TextRequest
from encoders.division import Division
from encoders.encoder import LONG, Encoder, Modality, NamedEncoder, Prepared, Vectors
from encoders.engine_answers import BatchReport, EncodedImage, EngineClosed, Steps, WarmUp
from encoders.load_thread import in_daemon_thread
from encoders.model_thread import ModelThread, finish
from encoders.parts import Parts
from encoders.processors import usable_processors
from imaging.decode import BadImage, OpenedImage, open_image
from imaging.room import PixelRoom
from schemas.dead_letter import RejectReason
from schemas.errors import ConfigurationError
from schemas.events import EncoderIdentity, ImageFacts

__all__ = ["BadImage", "BatchReport", "EncodedImage", "EncoderEngine", "EngineClosed", "Steps", "WarmUp"]

PIXELS_AT_ONCE = 48_000_000
"""Decoded and not yet prepared, in all threads: four pictures of 12 megapixels, 192 MB as Pillow keeps them."""
WARM_UP_SECONDS = 2.0
LEAVE_SECONDS = 5.0


class EncoderEngine:
    """Call `embed_image` as often at once as you like; batches form by themselves. An async context manager.

    Decoding and preparing run in `decode_threads` threads (0: one for each processor), the model in one more. What
    somebody waits for, words and urgent images, has a thread of its own for each, and waits for no batch. Not more
    than two batches of images are admitted at a time, and decoded pixels are bounded, so memory does not grow with the
    number of callers. `on_batch` is called on the event loop after each batch of images.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        batch_size: int = 32,
        max_wait_seconds: float = 0.01,
        decode_threads: int = 0,
        max_pixels: int = 100_000_000,
        on_batch: Callable[[BatchReport], None] | None = None,
    ) -> None:
        self.encoder = encoder
        self.warm_up: WarmUp | None = None
        """Known once the engine has been entered; None for an encoder of words alone."""
        self._batch_size = batch_size
        self._parts = Parts(batch_size)
        self._division = Division(encoder)
        self._max_pixels = max_pixels
        self._on_batch = on_batch
        self._threads = decode_threads or usable_processors()
        self._queue = BatchQueue(max_wait_seconds)
        self._urgent_queue = BatchQueue(0.0)
        self._room = PixelRoom(PIXELS_AT_ONCE)
        self._closed: EngineClosed | None = None
        self._working: dict[Hashable, int | None] = {}
        self._pieces = itertools.count()
        self._models: tuple[ModelThread, ...] = ()

    @property
    def identity(self) -> EncoderIdentity:
        """The encoder's; known once the engine has been entered."""
        return self.encoder.identity

    @property
    def reads_names(self) -> bool:
        """Whether vectors come from the keys of images, so that the same bytes under another key get another."""
        return isinstance(self.encoder, NamedEncoder)

    @property
    def batch_limit(self) -> int:
        """The batch size in use: `batch_size`, or less while the device has no room for more."""
        return self._parts.limit

    @property
    def full_batch_seconds(self) -> float | None:
        """What the pass of a full batch takes by the warm-up; None where there was none."""
        return None if self.warm_up is None else self._batch_size / self.warm_up.images_per_second

    @property
    def _remote(self) -> bool:
        return self.encoder.device == "remote"

    def passes(self) -> int:
        """Forward passes made so far: as long as it grows, whoever waits for the model is served in turn."""
        return sum(one.passes for one in self._models)

    def work(self) -> Mapping[Hashable, int | None]:
        """For a liveness probe: what the threads do now, each image that is decoded and the pass of the model.

        A request to a model that runs elsewhere is left out: its own time-outs end it.
        """
        return dict(self._working)

    @property
    def waiting(self) -> int:
        """Requests that are ready and wait for the model now."""
        return len(self._queue) + len(self._urgent_queue)

    async def __aenter__(self) -> Self:
        """Load the model and warm up, off the event loop. Raises `ConfigurationError`, `DependencyUnavailable`.

        May be entered again after it raised.
        """
        self._loop = asyncio.get_running_loop()
        if self._remote:
            # Waited for in a thread that ends with the process: a cold start is given minutes, and may be given up.
            await asyncio.wrap_future(in_daemon_thread(self._load))
        else:
            await asyncio.to_thread(self._load)
        self._admission = asyncio.Semaphore(2 * self._batch_size + self._threads)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        self._urgent_pool = ThreadPoolExecutor(1, thread_name_prefix="decode-urgent")
        # What fits on the device beside the other's batch, each of the two finds out for itself.
        self._models = (
            self._model_thread("forward", self._queue, self._parts),
            self._model_thread("forward-urgent", self._urgent_queue, Parts(self._batch_size)),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the batch in hand, fail everybody else with `EngineClosed`, and end the threads.

        A model that runs elsewhere is waited for no longer than `LEAVE_SECONDS`.
        """
        self._close(EngineClosed("the engine was closed before this request had its turn; ask again after the restart"))
        for model in self._models:
            await asyncio.to_thread(model.join, LEAVE_SECONDS if self._remote else None)
        for pool in (self._pool, self._urgent_pool):
            await asyncio.to_thread(pool.shutdown)

    async def embed_image(self, data: bytes, *, key: str | None = None, urgent: bool = False) -> EncodedImage:
        """Decode and embed the bytes of one image. `key` is what it is called, for encoders that read names.

        `urgent` is for those who wait for an answer, as in a search by image: such a request waits for no other.
        Raises `BadImage` for the bytes, `ConfigurationError` where the encoder takes words only, `EngineClosed`, and
        whatever the model's forward pass raises.
        """
        if self.encoder.modality is Modality.WORDS:
            raise ConfigurationError(
                f"the model {self.identity.model} takes words only; choose one that takes images (`sightline models`)"
            )
        if urgent:
            return await self._embed_image(data, key or "", urgent=True)
        async with self._admission:
            return await self._embed_image(data, key or "", urgent=False)

    async def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (n, d). Does not wait behind images."""
        chunks = [tuple(texts[at : at + self._batch_size]) for at in range(0, len(texts), self._batch_size)]
        answers = [self._ask(self._urgent_queue, TextRequest(chunk, self._loop.create_future())) for chunk in chunks]
        if not answers:
            return np.zeros((0, self.identity.dimension), dtype=np.float32)
        if len(answers) == 1:
            return await answers[0]
        return np.concatenate(await asyncio.gather(*answers))

    async def _embed_image(self, data: bytes, key: str, *, urgent: bool) -> EncodedImage:
        self._check_open()
        queue, pool = (self._urgent_queue, self._urgent_pool) if urgent else (self._queue, self._pool)
        began = time.perf_counter()
        with queue.preparing():
            facts, prepared = await self._loop.run_in_executor(pool, self._prepare, data, key)
            prepared_at = time.perf_counter()
            answer = self._ask(queue, ImageRequest(prepared, self._loop.create_future()))
        return EncodedImage(facts, await answer, Steps(began, prepared_at, time.perf_counter()))

    def _ask(self, queue: BatchQueue, request: ImageRequest | TextRequest) -> Answer:
        self._check_open()
        if not queue.put(request):
            raise self._closed or EngineClosed("the engine is closed")
        return request.answer

    def _check_open(self) -> None:
        if self._closed is not None:
            raise EngineClosed(str(self._closed))

    def _model_thread(self, name: str, queue: BatchQueue, parts: Parts) -> ModelThread:
        at_work = nullcontext if self._remote else self._at_work
        return ModelThread(
            name, self.encoder, queue, parts, self._division,
            deliver=self._deliver, at_work=at_work, broken=self._close,
        )  # fmt: skip

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        piece = next(self._pieces)
        self._working[piece] = 0
        try:
            yield
        finally:
            del self._working[piece]

    # In the threads that decode

    def _prepare(self, data: bytes, key: str) -> tuple[ImageFacts, Prepared]:
        with self._at_work():
            return self._decode_and_prepare(data, key)

    def _decode_and_prepare(self, data: bytes, key: str) -> tuple[ImageFacts, Prepared]:
        self._check_open()
        opened = open_image(data, max_pixels=self._max_pixels, at_least=self.encoder.target_size)
        with self._room.taken(max(opened.pixels, self._pixels_on_the_way(opened))):
            decoded = opened.decode()
            try:
                if isinstance(self.encoder, NamedEncoder):
                    return decoded.facts, self.encoder.prepare_named(decoded.facts, key, opened.keywords())
                return decoded.facts, self.encoder.prepare(decoded.image)
            except Exception as error:
                # A MemoryError too: the bytes would come again after a restart, and stop the process every time.
                cause = " ".join(str(error).split()) or type(error).__name__
                raise BadImage(
                    RejectReason.DECODE_FAILED,
                    f"{opened.format} of {opened.width} x {opened.height} pixels was decoded, but could not be made "
                    f"into the model's input: {cause}"[:300],
                ) from error

    def _pixels_on_the_way(self, opened: OpenedImage) -> int:
        """What `Encoder.prepare` may make of an image, which exceeds the image itself where that is small or long."""
        short, long = sorted((opened.width, opened.height))
        return math.ceil(2 * (self.encoder.target_size or 0) ** 2 * min(long / max(short, 1), LONG))

    def _load(self) -> None:
        self.encoder.load()
        if self.encoder.modality is Modality.WORDS:
            self.encoder.encode_text(["warm up"])
            self._division.measure(None)
            return
        if self._remote:
            # It has answered once, and more would be paid for.
            return
        size = self.encoder.target_size or 256
        picture = Image.effect_noise((2 * size, 2 * size), 64).convert("RGB")
        began = time.perf_counter()
        prepared = self.encoder.prepare(picture)
        prepared_at = time.perf_counter()
        self.encoder.forward([prepared])
        one = time.perf_counter() - prepared_at
        # A whole batch where that is quick; a large model on a processor would need minutes.
        images = max(1, min(self._batch_size, int(WARM_UP_SECONDS / max(one, 1e-6))))
        forwarding = time.perf_counter()
        vectors = self._parts.encode([prepared] * images, self.encoder.forward, self.encoder.device)
        finishing = time.perf_counter()
        finish(vectors, images)
        ended = time.perf_counter()
        self._division.measure(prepared)
        self.warm_up = WarmUp(images, prepared_at - began, finishing - forwarding, ended - finishing)

    # Back to the callers

    def _deliver(
        self, answers: Sequence[tuple[Answer, Vectors | Exception]], report: BatchReport | None = None
    ) -> None:
        def on_the_loop() -> None:
            for future, answer in answers:
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
            if report is not None and self._on_batch is not None:
                self._on_batch(report)

        # The loop may have been closed by someone who did not leave the engine first; then nobody waits any more.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(on_the_loop)

    def _close(self, reason: EngineClosed) -> None:
        self._closed = self._closed or reason
        waiting = [*self._queue.close(), *self._urgent_queue.close()]
        self._deliver([(request.answer, EngineClosed(str(reason))) for request in waiting])
