"""What a search is made of: examples that are liked or unliked, and how they become one vector.

    q = (w1·v1 + w2·v2 + ... - u1·n1 - ...) / |w1·v1 + w2·v2 + ... - u1·n1 - ...|

v are the unit vectors of the examples that are liked, n of the unliked, w and u their weights (1 where none is
given), all positive. A single example is compared as it is. Results are ordered by their cosine with q.
"""

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

import numpy as np

from imaging.formats import BadImage
from schemas.dead_letter import RejectReason
from services.search.embedding import EmbeddingEngine
from services.search.modality import check_takes_images, vectors_of_words
from services.search.problems import Problem, ProblemKind, bad_image, bad_parameter
from services.search.together import in_order
from services.search.urls.linked_images import LinkedImages, Turns
from services.search.urls.url_images import UrlRefused
from stores.vectors import StoredPoint, Vector

CANCELLED = 1e-3
"""A sum shorter than this part of its weights points nowhere: what is left is rounding."""

SMALL_BYTES = 1024 * 1024

REMEMBERED = 256
"""Vectors of words that are kept, for the pages and refinements that follow a search."""


@dataclass(frozen=True)
class Words:
    """A text."""

    text: str


@dataclass(frozen=True)
class IndexedImage:
    """An image of the index, whose stored vector is used."""

    id: UUID


@dataclass(frozen=True)
class LinkedImage:
    """An image somewhere on the internet."""

    url: str


@dataclass(frozen=True)
class SentImage:
    """The bytes of an image, and its file name where one is known, for models that read names."""

    data: bytes = field(repr=False)
    name: str = ""
    checksum: int = field(default=0, init=False)
    """Of the bytes; stands for them where a query is told from another."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "checksum", zlib.crc32(self.data))


async def sent_image(data: bytes, name: str = "") -> SentImage:
    """An image that was sent. The checksum of a large one is made in a thread: it takes 20 ms for 64 MiB."""
    return SentImage(data, name) if len(data) <= SMALL_BYTES else await asyncio.to_thread(SentImage, data, name)


Subject: TypeAlias = Words | IndexedImage | LinkedImage | SentImage


@dataclass(frozen=True)
class Example:
    """Something that results should be like; with a weight below zero, unlike. `path` names it in errors."""

    subject: Subject
    weight: float = 1.0
    path: str = ""


def combined(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """The weighted sum of unit vectors, of unit length; a single liked one as it is.

    Raises `Problem` 422 where the examples cancel out.
    """
    if len(vectors) == 1 and weights[0] > 0:
        return vectors[0]
    factors = np.asarray(weights, dtype=np.float64)
    total = np.sum([factor * vector for factor, vector in zip(factors, vectors, strict=True)], axis=0)
    length = float(np.linalg.norm(total))
    if length < CANCELLED * float(np.abs(factors).sum()):
        raise Problem(
            422,
            ProblemKind.BAD_PARAMETER,
            "like and unlike cancel out: nothing is left to search for.",
            "Leave one of the examples out, or give them different weights.",
            errors=[{"field": "unlike", "problem": "together with `like` it adds up to nothing"}],
        )
    vector: Vector = (total / length).astype(np.float32)
    return vector


class ExampleVectors:
    """Makes the vectors of examples: texts in one batch, images side by side, indexed ones from the index.

    `stored` answers the points with these ids, or raises `Problem` 404.
    """

    def __init__(
        self,
        engine: EmbeddingEngine,
        stored: Callable[[UUID], Awaitable[StoredPoint]],
        urls: LinkedImages | None = None,
    ) -> None:
        self._engine = engine
        self._stored = stored
        self._urls = urls
        self._texts: OrderedDict[str, Vector] = OrderedDict()

    async def vector(self, examples: Sequence[Example], caller: str | None = None) -> Vector:
        """The one vector of several examples; shape (dimension,), unit length. `caller` is whoever asks, where known.

        Raises `Problem` for an image or a URL that cannot be used (422), what the model does not take (422), an id
        that is not there (404), and examples that cancel out (422); `EngineFull` while too much is asked for;
        `DependencyUnavailable` if the model is remote.
        """
        linked = sum(isinstance(one.subject, LinkedImage) for one in examples)
        if linked and self._urls is not None:
            with self._urls.asked(linked, caller) as turns:
                return await self._vector(examples, turns)
        return await self._vector(examples, None)

    async def _vector(self, examples: Sequence[Example], turns: Turns | None) -> Vector:
        if len(examples) == 1:  # a task for each is for those that are made side by side
            return combined(await self._of_one(examples[0], turns), [examples[0].weight])
        words = [(example, example.subject.text) for example in examples if isinstance(example.subject, Words)]
        images = [example for example in examples if not isinstance(example.subject, Words)]
        vectors = await in_order(
            self._of_words([text for _, text in words]), *(self._of_one(example, turns) for example in images)
        )
        weights = [example.weight for example in (*(one for one, _ in words), *images)]
        return combined([vector for several in vectors for vector in several], weights)

    async def _of_words(self, texts: Sequence[str]) -> list[Vector]:
        # Taken out before the model is waited for: meanwhile other searches may push them out.
        known = {text: self._texts[text] for text in texts if text in self._texts}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known.update(zip(missing, await vectors_of_words(self._engine, missing), strict=True))
        vectors = [known[text] for text in texts]
        for text, vector in zip(texts, vectors, strict=True):
            self._texts[text] = vector
            self._texts.move_to_end(text)
        while len(self._texts) > REMEMBERED:
            self._texts.popitem(last=False)
        return vectors

    async def _of_one(self, example: Example, turns: Turns | None) -> list[Vector]:
        subject = example.subject
        if isinstance(subject, Words):
            return await self._of_words([subject.text])
        if isinstance(subject, IndexedImage):
            return [await self._of_indexed(subject.id)]
        check_takes_images(self._engine)
        try:
            if isinstance(subject, LinkedImage):
                return [await self._of_url(subject.url, example.path, turns)]
            return [await self._of_bytes(subject.data, subject.name)]
        except BadImage as error:
            problem = bad_image(error)
            if example.path:
                problem.members["errors"] = [{"field": example.path, "problem": error.detail}]
            raise problem from None
        except UrlRefused as error:
            raise Problem(
                422,
                ProblemKind.BAD_PARAMETER,
                str(error),
                error.remedy,
                errors=[{"field": example.path or "url", "problem": str(error)}],
            ) from None

    async def _of_indexed(self, image: UUID) -> Vector:
        point = await self._stored(image)
        if point.vector is None:
            raise Problem(
                404, ProblemKind.NO_SUCH_IMAGE, f"The image {image} has no vector.", "Search by its bytes instead."
            )
        return point.vector

    async def _of_url(self, url: str, path: str, turns: Turns | None) -> Vector:
        if turns is None:
            raise bad_parameter(path or "url", "this service fetches no images from URLs; send the bytes of the image")
        async with turns.fetched(url) as data:
            return await self._of_bytes(data, "")

    async def _of_bytes(self, data: bytes, name: str) -> Vector:
        if not data:
            raise BadImage(RejectReason.EMPTY, "it has no bytes")
        return (await self._engine.embed_image(data, key=name or None, urgent=True)).vector
