"""What a thread of the model does next: a queue that makes batches of images and lets words pass."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from encoders.encoder import Prepared, Vectors

Answer: TypeAlias = "asyncio.Future[Vectors]"


@dataclass(eq=False)
class ImageRequest:
    """One prepared image and whoever waits for its vector of shape (d,). `arrived` is monotonic seconds."""

    prepared: Prepared
    answer: Answer
    arrived: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class TextRequest:
    """Texts, no more than fit in one batch, and whoever waits for their vectors of shape (n, d)."""

    texts: tuple[str, ...]
    answer: Answer


@dataclass(frozen=True)
class TextBatch:
    """Texts of one or several callers that go through the model together."""

    requests: tuple[TextRequest, ...]


@dataclass(frozen=True)
class ImageBatch:
    """Images to go through the model together. `waited` is the seconds that the model stood idle for their decoding."""

    requests: tuple[ImageRequest, ...]
    waited: float


class BatchQueue:
    """Thread-safe. Images are taken in the order of arrival; whoever gave up is left out.

    A batch is taken when the taker comes and finds a full one, or when its oldest image has waited `max_wait` seconds,
    or when nothing more is being prepared that could join it. So under load no clock decides, and a lone image does
    not wait. Texts go before images, but never twice in a row while images wait; those that came while the model was
    busy go together.
    """

    def __init__(self, max_wait: float) -> None:
        self._max_wait = max_wait
        self._changed = threading.Condition()
        self._images: deque[ImageRequest] = deque()
        self._texts: deque[TextRequest] = deque()
        self._preparing = 0
        self._preparing_since = 0.0
        self._text_was_last = False
        self._waited = 0.0
        self._closed = False

    def __len__(self) -> int:
        """The requests that wait now."""
        with self._changed:
            return len(self._images) + len(self._texts)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Say that an image is on its way, which a batch may wait for; it is put inside, or failed."""
        with self._changed:
            if self._preparing == 0:
                self._preparing_since = time.monotonic()
            self._preparing += 1
        try:
            yield
        finally:
            with self._changed:
                self._preparing -= 1
                self._changed.notify()

    def put(self, request: ImageRequest | TextRequest) -> bool:
        """Queue a request; False if the queue is closed."""
        with self._changed:
            if self._closed:
                return False
            if isinstance(request, TextRequest):
                self._texts.append(request)
            else:
                self._images.append(request)
            self._changed.notify()
            return True

    def close(self) -> list[ImageRequest | TextRequest]:
        """Take no more, end `take`, and hand back what was waiting."""
        with self._changed:
            self._closed = True
            waiting: list[ImageRequest | TextRequest] = [*self._texts, *self._images]
            self._texts.clear()
            self._images.clear()
            self._changed.notify_all()
            return waiting

    def take(self, limit: int) -> ImageBatch | TextBatch | None:
        """Wait for the next work: `limit` images or texts at most, or one larger request; None once it is closed."""
        with self._changed:
            while not self._closed:
                self._forget_those_who_left()
                if self._texts and not (self._text_was_last and self._images):
                    self._text_was_last = True
                    return self._text_batch(limit)
                patience = self._patience(limit)
                if patience is not None and patience <= 0:
                    self._text_was_last = False
                    batch = tuple(self._images.popleft() for _ in range(min(limit, len(self._images))))
                    waited, self._waited = self._waited, 0.0
                    return ImageBatch(batch, waited)
                self._wait(patience)
            return None

    def _text_batch(self, limit: int) -> TextBatch:
        requests = [self._texts.popleft()]
        size = len(requests[0].texts)
        while self._texts and size + len(self._texts[0].texts) <= limit:
            requests.append(self._texts.popleft())
            size += len(requests[-1].texts)
        return TextBatch(tuple(requests))

    def _patience(self, limit: int) -> float | None:
        """Seconds that the images here may still wait for company; None if there are none."""
        if not self._images:
            return None
        if len(self._images) >= limit or self._preparing == 0 or self._texts:
            return 0.0
        return self._images[0].arrived + self._max_wait - time.monotonic()

    def _wait(self, timeout: float | None) -> None:
        began = time.monotonic()
        self._changed.wait(timeout)
        ended = time.monotonic()
        # Standing idle counts only while somebody was decoding: with nothing to do there is nothing to wait for.
        if self._preparing or self._images:
            self._waited += ended - max(began, min(ended, self._preparing_since))

    def _forget_those_who_left(self) -> None:
        if any(request.answer.done() for request in self._images):
            self._images = deque(request for request in self._images if not request.answer.done())
        if any(request.answer.done() for request in self._texts):
            self._texts = deque(request for request in self._texts if not request.answer.done())
