"""Among how many threads a pass of the model is divided, found out by trying.

torch divides every operation among its threads, and where these sleep while they wait (docs/decisions/0031) it must
wake them each time. One text or one image is often so little work that this takes longer than it saves: a text of
`sightline-small` takes 1.8 ms in one thread and 5.9 ms in two (2 AMD EPYC processors, 2026-11-28).
"""

import time
from collections.abc import Callable
from contextlib import suppress

from encoders.batches import ImageBatch, TextBatch
from encoders.encoder import Encoder, Modality, ParallelEncoder, Prepared
from schemas.errors import ConfigurationError

WORTH = 1.5
"""How many times as long one thread may take: the others have work of their own to do meanwhile."""
LONG_SECONDS = 0.2
"""A pass that takes longer among all is left divided, and is not tried in one thread, where it may take minutes."""
TRIES = 3


class Division:
    """The threads for a batch, for one image and for one text. All of them until it has been measured."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._parallel = encoder if isinstance(encoder, ParallelEncoder) else None
        self._image: int | None = None
        self._words: int | None = None

    def measure(self, image: Prepared | None) -> None:
        """Try what is asked for one at a time. The encoder must be loaded; `image` is None where it takes none."""
        if self._parallel is None or self._parallel.threads < 2:
            return
        if image is not None:
            self._image = _fewest(self._parallel, lambda: self._encoder.forward([image]))
        if self._encoder.modality is Modality.IMAGES:
            return
        # Without a tokenizer images can be embedded all the same; whoever asks with words is told what is missing.
        with suppress(ConfigurationError):
            self._words = _fewest(self._parallel, lambda: self._encoder.encode_text(["a photograph of a dog"]))

    def apply(self, work: ImageBatch | TextBatch) -> None:
        """Divide what the calling thread does next as it should be."""
        if self._parallel is None:
            return
        if isinstance(work, TextBatch):
            one = self._words if sum(len(request.texts) for request in work.requests) == 1 else None
        else:
            one = self._image if len(work.requests) == 1 else None
        self._parallel.divide(one or self._parallel.threads)


def _fewest(encoder: ParallelEncoder, work: Callable[[], object]) -> int:
    everything = _seconds(encoder, encoder.threads, work)
    if everything > LONG_SECONDS:
        return encoder.threads
    try:
        return 1 if _seconds(encoder, 1, work) <= WORTH * everything else encoder.threads
    finally:
        encoder.divide(encoder.threads)


def _seconds(encoder: ParallelEncoder, threads: int, work: Callable[[], object]) -> float:
    """The least of a few tries, since something else may come in between."""
    encoder.divide(threads)
    took = []
    for _ in range(TRIES):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
        if took[-1] > LONG_SECONDS:
            break
    return min(took)
