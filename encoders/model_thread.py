"""A thread that takes batches from a queue of its own, has the model make vectors of them, and hands these out."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from encoders.batches import Answer, BatchQueue, ImageBatch, TextBatch, TextRequest
from encoders.division import Division
from encoders.encoder import Encoder, SomeFailed, Vectors
from encoders.engine_answers import BatchReport, EngineClosed
from encoders.parts import Parts
from schemas.errors import DependencyUnavailable

Deliver = Callable[[Sequence[tuple[Answer, Vectors | Exception]], BatchReport | None], None]


class ModelThread:
    """Serves `queue` until it is closed.

    `deliver` is called with what became of each request, `at_work` encloses each pass of the model, and `broken` is
    called once if the thread ends otherwise than by the closing of its queue. A batch that does not fit on the device
    is halved; the size that fits is remembered and raised again later.
    """

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        queue: BatchQueue,
        parts: Parts,
        division: Division,
        *,
        deliver: Deliver,
        at_work: Callable[[], AbstractContextManager[None]],
        broken: Callable[[EngineClosed], None],
    ) -> None:
        self.queue = queue
        self.passes = 0
        """Made so far."""
        self._encoder = encoder
        self._parts = parts
        self._division = division
        self._deliver = deliver
        self._at_work = at_work
        self._broken = broken
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the batch in hand is finished, at most `timeout` seconds; the queue must be closed."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while (work := self.queue.take(self._parts.limit)) is not None:
                with self._at_work():
                    self._division.apply(work)
                    if isinstance(work, ImageBatch):
                        self._forward(work)
                    else:
                        self._encode_text(work)
                self.passes += 1
        except BaseException as error:
            # Whoever waits must learn of it; nobody else would ever tell them.
            self._broken(_ended(error))
            raise

    def _forward(self, batch: ImageBatch) -> None:
        began = time.perf_counter()
        failures: Mapping[int, Exception] = {}
        try:
            prepared = [request.prepared for request in batch.requests]
            vectors = self._parts.encode(prepared, self._encoder.forward, self._encoder.device)
            rows = finish(vectors, len(batch.requests))
        except SomeFailed as some:
            rows, failures = finish(some.vectors, len(batch.requests)), some.failures
        except BaseException as error:
            self._fail([request.answer for request in batch.requests], error)
            return
        report = BatchReport(len(batch.requests), time.perf_counter() - began, batch.waited)
        answers = [request.answer for request in batch.requests]
        self._deliver([(answer, failures.get(at, rows[at])) for at, answer in enumerate(answers)], report)

    def _encode_text(self, batch: TextBatch) -> None:
        texts = [text for request in batch.requests for text in request.texts]
        answers = [request.answer for request in batch.requests]
        try:
            vectors = self._parts.encode(texts, self._encoder.encode_text, self._encoder.device)
            if len(vectors) != len(texts):
                raise RuntimeError(f"the model made {len(vectors)} vectors of {len(texts)} texts")
        except Exception as error:
            if len(answers) == 1 or isinstance(error, DependencyUnavailable):
                self._fail(answers, error)
                return
            # One caller's text may be at fault, and the others must not pay for it.
            for request in batch.requests:
                self._encode_text(TextBatch((request,)))
        except BaseException as error:
            self._fail(answers, error)
        else:
            self._deliver([(request.answer, share) for request, share in _shares(batch, vectors)], None)

    def _fail(self, answers: Sequence[Answer], error: BaseException) -> None:
        """Give an error to those whose batch it was; what is no mere `Exception` ends the thread as well."""
        if isinstance(error, Exception):
            self._deliver([(answer, error) for answer in answers], None)
            return
        self._deliver([(answer, _ended(error)) for answer in answers], None)
        raise error


def finish(vectors: Vectors, expected: int) -> list[Vectors]:
    """One vector for each image, each with memory of its own. Raises if the model lost or added one."""
    if len(vectors) != expected:
        raise RuntimeError(f"the model made {len(vectors)} vectors of {expected} images")
    return [row.copy() for row in vectors]


def _shares(batch: TextBatch, vectors: Vectors) -> Iterator[tuple[TextRequest, Vectors]]:
    """The vectors of each request's texts, with memory of their own."""
    at = 0
    for request in batch.requests:
        yield request, vectors[at : at + len(request.texts)].copy()
        at += len(request.texts)


def _ended(error: BaseException) -> EngineClosed:
    return EngineClosed(f"the thread of the model ended: {error!r}; restart the process")
