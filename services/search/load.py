"""How much the model is asked at a time by people: beyond it, an answer at once instead of a queue without end.

The pipeline in the same process asks the engine itself, waits its turn, and is never refused.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from schemas.errors import SightlineError
from services.search.embedding import EmbeddedImage, EmbeddingEngine, Model

TEXTS_A_TURN = 32
"""So many texts count as much as one image."""
RETRY_AFTER_SECONDS = 1


class EngineFull(SightlineError):
    """As much waits for the model as may; nothing of this request was begun. `retry_after` is in seconds."""

    def __init__(self, detail: str, retry_after: int = RETRY_AFTER_SECONDS) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class BoundedEngine:
    """An engine that at most `most` images, or as many turns of 32 texts, wait for at a time.

    A request is never larger than the bound: it begins where nobody else waits. Raises `EngineFull`.
    """

    def __init__(self, engine: EmbeddingEngine, most: int) -> None:
        self._engine = engine
        self._most = most
        self.waiting = 0
        """Turns asked for and not yet answered."""

    @classmethod
    def around(cls, engine: EmbeddingEngine, most: int) -> "BoundedEngine":
        """An engine with a bound; one that has its own stays as it is, so that all who share it share the bound."""
        return engine if isinstance(engine, cls) else cls(engine, most)

    @property
    def encoder(self) -> Model:
        """The model."""
        return self._engine.encoder

    async def embed_image(self, data: bytes, *, key: str | None = None, urgent: bool = False) -> EmbeddedImage:
        """As the engine's own. Raises `EngineFull`."""
        with self._turns(1):
            return await self._engine.embed_image(data, key=key, urgent=urgent)

    async def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the engine's own. Raises `EngineFull`."""
        with self._turns(-(-len(texts) // TEXTS_A_TURN)):
            return await self._engine.embed_texts(texts)

    @contextmanager
    def _turns(self, turns: int) -> Iterator[None]:
        if self.waiting and self.waiting + turns > self._most:
            raise EngineFull(f"{self.waiting} requests wait for the model, which is as many as may")
        self.waiting += turns
        try:
            yield
        finally:
            self.waiting -= turns
