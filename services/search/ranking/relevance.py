"""How relevant a score is: the cosine of one query, read against what queries usually reach in this collection.

A cosine means something else for every model, and for words something else than for images. So it is compared with
scores that are known to mean little: those of a background, a sample of the collection that stands for all of it.

    u = (s - m) / (T - m)          relevance = 1 / (1 + exp(-(u - CUT) / WIDTH))

s is the cosine. M and T are the median and the 99th percentile of the background's scores for a usual query of this
kind, the median over usual queries: fixed everyday words for words, images of the background for images. m is halfway
between M and the median of the background's scores for this very query. So u is 0 for what any image reaches, and 1
for the best hundredth of the collection under a query that nobody asked.

The tail is taken from usual queries and not from this one: among the best hundredth for this query are its right
answers, and the more there are the higher they would raise the bar for themselves. CUT and WIDTH were fitted on
`sightline-small`: at a relevance of 0.5 results are cut for the best F1; docs/relevance.md has the figures.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from runtime.log import Log
from services.search.collection import Collection
from services.search.embedding import EmbeddingEngine
from services.search.modality import vectors_of_words
from services.search.problems import Problem
from stores.cursor import cursor_at
from stores.vectors import Vector, VectorIndex, Vectors, Where

CUT, WIDTH = 1.36, 0.12
"""Where relevance is 0.5, and how fast it rises; fitted by `python -m benchmarks.relevance --fit`."""

GOOD = 0.5
"""The least relevance of a good match."""

SAMPLE = 1000
"""Vectors that stand for the collection; a smaller collection stands for itself."""

LEAST_SAMPLE = 50
"""Fewer than that tell nothing of a hundredth."""

REFRESH_SECONDS = 300.0
GROWING_SECONDS = 10.0
"""How old a sample may be: one that is whole, and one that will be more in a moment, of a collection that is smaller
than a sample, or where the usual words could not be embedded for now."""

PATIENCE_SECONDS = 1.0
"""How long the first search waits for the first sample."""

USUAL_IMAGES = 64
USUAL_WORDS = (
    *("a dog", "a cat", "a horse", "a bird", "a fish", "an animal", "a tree", "a flower", "a mountain", "the sea"),
    *("a river", "the sky", "a house", "a bridge", "a street", "a car", "a bicycle", "a train", "a boat", "a man"),
    *("a woman", "a child", "a smiling face", "a crowd of people", "food on a plate", "a cup of coffee", "fruit"),
    *("a book", "a clock", "a phone", "a computer", "a chair", "a shoe", "a hat", "snow", "fire", "the sun"),
    *("something red", "something blue", "a sign with words"),
)
"""What people ask for anywhere; most collections have pictures of few of them."""

_TAIL = 0.99
_OWN = 0.5
_LEAST_SPREAD = 0.05
# Ids are hashes, so the points that follow any id are a random sample. A fixed one makes it the same sample each
# time, in every process: a relevance moves only when the collection does.
_START = UUID("9e3779b9-7f4a-5c15-8000-000000000000")


@dataclass(frozen=True)
class Scale:
    """What the cosines of one query mean. `location` is the cosine where u is 0, `spread` that from u = 0 to 1."""

    location: float
    spread: float

    def relevance(self, score: float) -> float:
        """Between 0 and 1: about the chance that an image of this cosine is a right answer."""
        exponent = ((score - self.location) / self.spread - CUT) / WIDTH
        return 1 / (1 + math.exp(min(700.0, -exponent)))

    @property
    def good(self) -> float:
        """The cosine whose relevance is `GOOD`."""
        return self.location + self.spread * CUT


ABSOLUTE = {"filename-tags": Scale(0.0, 0.38 / CUT)}
"""Models whose cosine means the same for every query, here the words that a name shares with it."""


@dataclass(frozen=True)
class Usual:
    """What usual queries of one kind score: the median of the background, and where its best hundredth begins."""

    median: float
    tail: float

    @classmethod
    def of(cls, queries: Vectors, background: Vectors) -> "Usual":
        """Measured with queries (k, dimension) over a background (n, dimension); the median over the queries."""
        scores = queries @ background.T
        medians, tails = np.quantile(scores, (0.5, _TAIL), axis=1)
        return cls(float(np.median(medians)), float(np.median(tails)))

    def towards(self, other: "Usual", share: float) -> "Usual":
        """Between the two: this one at a share of 0, the other at 1."""
        return Usual(_between(self.median, other.median, share), _between(self.tail, other.tail, share))


def scale_of(query: Vector, background: Vectors, usual: Usual) -> Scale:
    """The scale of a query; `background` has shape (n, dimension)."""
    location = _between(usual.median, float(np.median(background @ query)), _OWN)
    least = max(_LEAST_SPREAD, (usual.tail - usual.median) / 2)
    # Where images of a collection are much alike, the cut would lie beyond 1, and not even copies were good matches.
    most = ((1 + usual.tail) / 2 - location) / CUT
    return Scale(location, max(1e-6, min(most, max(least, usual.tail - location))))


@dataclass(frozen=True)
class Background:
    """A sample of a collection, and what usual queries score on it; `words` is None where they have no vectors."""

    vectors: Vectors
    images: Usual
    words: Usual | None

    @classmethod
    def of(cls, vectors: Vectors, words: NDArray[np.float32] | None) -> "Background":
        """The background of vectors (n, dimension); `words` (k, dimension) are those of `USUAL_WORDS`."""
        some = vectors[:: max(1, len(vectors) // USUAL_IMAGES)]
        return cls(vectors, Usual.of(some, vectors), None if words is None else Usual.of(words, vectors))

    def scale(self, query: Vector, images: float) -> Scale | None:
        """The scale of a query of which images are the share `images`; None where words cannot be compared."""
        if images >= 1:
            return scale_of(query, self.vectors, self.images)
        if self.words is None:
            return None
        return scale_of(query, self.vectors, self.words.towards(self.images, images))


class Calibration:
    """Scales for the queries of one collection, from a sample that is made at first need and renewed behind searches.

    The usual words are embedded once for each model: a remote one is sent 40 short texts by each process.
    """

    def __init__(
        self,
        index: VectorIndex,
        engine: EmbeddingEngine,
        collection: Collection,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._engine = engine
        self._collection = collection
        self._clock = clock
        self._log = Log("sightline.search")
        self._space: str | None = None
        self._background: Background | None = None
        self._tried = -math.inf
        self._making: asyncio.Task[None] | None = None
        self._words: tuple[str, NDArray[np.float32]] | None = None
        self._words_are_to_come = False

    async def of(self, query: Vector, *, images: float) -> Scale | None:
        """The scale of a unit vector that was made of images by the share `images`, 0 to 1, and of words else.

        None where the collection has less than `LEAST_SAMPLE` images, or the first sample takes more than a second.
        Raises `DependencyUnavailable` where the index cannot even say which collection it is.
        """
        metadata = await self._collection.metadata()
        if metadata is None:
            return None
        if metadata.encoder.model in ABSOLUTE:
            return ABSOLUTE[metadata.encoder.model]
        if metadata.encoder.space != self._space:
            self._space, self._background, self._tried = metadata.encoder.space, None, -math.inf
        if self._making is None and self._clock() - self._tried >= self._lifetime:
            self._tried = self._clock()
            self._making = asyncio.create_task(self._make(metadata.encoder.space))
            self._making.add_done_callback(self._made)
        if self._background is None and self._making is not None:
            await asyncio.wait([self._making], timeout=PATIENCE_SECONDS)
        background = self._background
        if background is None or background.vectors.shape[1] != len(query):
            return None
        return background.scale(query, images)

    @property
    def _lifetime(self) -> float:
        background = self._background
        whole = background is not None and not self._words_are_to_come and len(background.vectors) >= SAMPLE
        return REFRESH_SECONDS if whole else GROWING_SECONDS

    async def _make(self, space: str) -> None:
        vectors = await self._sample()
        background = None
        if len(vectors) >= LEAST_SAMPLE:
            background = await asyncio.to_thread(Background.of, vectors, await self._usual_words(space))
        if space == self._space:
            self._background = background

    def _made(self, making: "asyncio.Task[None]") -> None:
        self._making = None
        error = None if making.cancelled() else making.exception()
        if error is not None:
            # The search itself answers, and says what is wrong with the index if anything is.
            self._log.warning("not_calibrated", f"no relevance for now: {error}; it is tried again")

    async def _sample(self) -> Vectors:
        """Vectors from `_START` on, and from the first one where the end comes too soon."""
        after = await self._read(cursor_at(_START), SAMPLE, None)
        missing = SAMPLE - sum(map(len, after))
        before = await self._read(None, missing, _START) if missing else []
        return np.concatenate([*after, *before]) if after or before else np.zeros((0, 1), dtype=np.float32)

    async def _read(self, cursor: str | None, most: int, end: UUID | None) -> list[Vectors]:
        """At most so many vectors of points before `end`, a page each: one page may be short, and not the last."""
        pages: list[Vectors] = []
        while most > 0:
            page = await self._index.scroll_vectors(Where(), limit=most, cursor=cursor)
            wanted = np.array([end is None or one < end for one in page.ids], dtype=bool)
            if wanted.any():
                pages.append(page.vectors[wanted])
                most -= len(pages[-1])
            cursor = page.cursor
            if cursor is None or not wanted.all():
                break
        return pages

    async def _usual_words(self, space: str) -> NDArray[np.float32] | None:
        """Their vectors; None where the model here is another one, gives words none, or does not answer."""
        self._words_are_to_come = False
        if self._engine.encoder.identity.space != space:
            return None
        if self._words is None or self._words[0] != space:
            try:
                self._words = (space, await vectors_of_words(self._engine, USUAL_WORDS))
            except Problem:  # words have no vectors, now and ever, and whoever searches by some is told so
                return None
            except Exception as error:
                self._words_are_to_come = True
                self._log.warning("not_calibrated", f"no relevance for words for now: {error}; it is tried again")
                return None
        return self._words[1]


def _between(one: float, other: float, share: float) -> float:
    return one + (other - one) * share
