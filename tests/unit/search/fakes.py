"""An index in memory and an engine without a model, for tests of the search service alone."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from encoders.encoder import Modality
from imaging.formats import BadImage
from schemas.collection import Canary, CollectionMetadata
from schemas.dead_letter import RejectReason
from schemas.errors import DependencyUnavailable
from schemas.events import EncoderIdentity, ImageFacts
from stores.cursor import cursor_at, next_id_of
from stores.filters import Bound, KeywordField, RangeField
from stores.vectors import (
    FacetCount,
    Fate,
    Hit,
    NewTags,
    Page,
    Point,
    Ranked,
    StoredPoint,
    Vector,
    VectorPage,
    Where,
)
from tests.unit.stores.filter_evaluation import matches, value_of, values_of

DIMENSION = 16


def identity(fingerprint: str = "abc-def-fp32", model: str = "tiny", dimension: int = DIMENSION) -> EncoderIdentity:
    return EncoderIdentity(model=model, fingerprint=fingerprint, dimension=dimension)


def unit_vector(seed: str | bytes) -> Vector:
    data = seed.encode() if isinstance(seed, str) else seed
    numbers = np.random.default_rng(list(hashlib.sha256(data).digest())).normal(size=DIMENSION)
    vector: Vector = (numbers / np.linalg.norm(numbers)).astype(np.float32)
    return vector


@dataclass
class FakeModel:
    identity: EncoderIdentity = field(default_factory=identity)
    device: str = "cpu"
    modality: Modality = Modality.IMAGES_AND_WORDS


@dataclass
class FakeImage:
    vector: Vector
    image: ImageFacts = field(default_factory=lambda: ImageFacts(width=4, height=3, format="jpeg"))


@dataclass
class FakeEngine:
    """An image is any bytes that begin with `IMG`; the same bytes have the same vector."""

    encoder: FakeModel = field(default_factory=FakeModel)
    failure: Exception | None = None
    calls: int = 0
    keys: list[str | None] = field(default_factory=list)

    async def embed_image(self, data: bytes, *, key: str | None = None, urgent: bool = False) -> FakeImage:
        self._called()
        self.keys.append(key)
        if not data.startswith(b"IMG"):
            raise BadImage(RejectReason.NOT_AN_IMAGE, "it looks like text")
        return FakeImage(unit_vector(data))

    async def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._called()
        return np.stack([unit_vector(text) for text in texts])

    def _called(self) -> None:
        self.calls += 1
        if self.failure is not None:
            raise self.failure


class FakeIndex:
    """Brute force over a dictionary, with the semantics that `stores.vectors.VectorIndex` promises."""

    def __init__(self) -> None:
        self.points: dict[UUID, Point] = {}
        self.made: CollectionMetadata | None = None
        self.away: DependencyUnavailable | None = None
        self.metadata_asked = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def metadata(self) -> CollectionMetadata | None:
        self.metadata_asked += 1
        self._reach()
        return self.made

    async def ensure(self, metadata: CollectionMetadata) -> CollectionMetadata:
        self.made = self.made or metadata
        return self.made

    async def keep_canary(self, canary: Canary) -> CollectionMetadata:
        assert self.made is not None
        self.made = self.made.model_copy(update={"canary": canary})
        return self.made

    async def write(self, points: Sequence[Point]) -> Sequence[Fate]:
        self._reach()
        fates: list[Fate] = []
        for point in points:
            stored = self.points.get(point.id)
            kept = stored is None or stored.payload.version <= point.payload.version
            if kept:
                self.points[point.id] = point
            fates.append(Fate.CHANGED if kept else Fate.STALE)
        return fates

    async def search(
        self,
        vector: Vector,
        *,
        limit: int,
        threshold: float | None = None,
        where: Where = Where(),
        with_vectors: bool = False,
    ) -> Sequence[Hit]:
        self._reach()
        hits = [
            Hit(point.id, float(vector @ point.vector), point.payload, point.vector if with_vectors else None)
            for point in self._matching(where)
            if point.vector is not None
        ]
        hits.sort(key=lambda hit: (-hit.score, hit.id))
        return [hit for hit in hits if threshold is None or hit.score >= threshold][:limit]

    async def rank(
        self, vector: Vector, *, limit: int, threshold: float | None = None, where: Where = Where()
    ) -> Sequence[Ranked]:
        hits = await self.search(vector, limit=limit, threshold=threshold, where=where)
        return [Ranked(hit.id, hit.score) for hit in hits]

    async def get(self, ids: Sequence[UUID], *, with_vectors: bool = False) -> Sequence[StoredPoint]:
        self._reach()
        return [
            StoredPoint(point.id, point.payload, point.vector if with_vectors else None)
            for point in (self.points.get(one) for one in ids)
            if point is not None
        ]

    async def scroll(self, where: Where, *, limit: int, cursor: str | None = None, with_vectors: bool = False) -> Page:
        self._reach()
        start = UUID(cursor) if cursor else UUID(int=0)
        found = [point for point in self._matching(where) if point.id >= start]
        following = str(found[limit].id) if len(found) > limit else None
        return Page([StoredPoint(point.id, point.payload) for point in found[:limit]], following)

    async def scroll_by(
        self, field: RangeField, where: Where, *, descending: bool, limit: int, cursor: str | None = None
    ) -> Page:
        self._reach()
        found = [point for point in self._matching(where) if value_of(point.payload, field) is not None]
        found.sort(key=lambda point: value_of(point.payload, field), reverse=descending)  # type: ignore[arg-type, return-value]
        start = int(cursor or 0)
        following = str(start + limit) if len(found) > start + limit else None
        return Page([StoredPoint(one.id, one.payload) for one in found[start : start + limit]], following)

    async def scroll_vectors(self, where: Where, *, limit: int, cursor: str | None = None) -> VectorPage:
        self._reach()
        start = next_id_of(cursor) or UUID(int=0)
        found = [point for point in self._matching(where) if point.id >= start]
        following = cursor_at(found[limit].id) if len(found) > limit else None
        rows = [(one.id, one.payload.version, one.vector) for one in found[:limit] if one.vector is not None]
        vectors = np.array([vector for _, _, vector in rows], dtype=np.float32).reshape(len(rows), DIMENSION)
        return VectorPage([one for one, _, _ in rows], [version for _, version, _ in rows], vectors, following)

    async def set_tags(self, news: Sequence[NewTags]) -> None:
        raise NotImplementedError("a search writes nothing")

    async def count(self, where: Where) -> int:
        self._reach()
        return len(self._matching(where))

    async def facet(self, field: KeywordField, where: Where, *, limit: int) -> Sequence[FacetCount]:
        self._reach()
        counted = Counter(value for point in self._matching(where) for value in set(values_of(point.payload, field)))
        ordered = sorted(counted.items(), key=lambda one: (-one[1], one[0]))
        return [FacetCount(value, count) for value, count in ordered[:limit]]

    async def extremes(self, field: RangeField, where: Where) -> tuple[Bound, Bound] | None:
        self._reach()
        values = [value for point in self._matching(where) if (value := value_of(point.payload, field)) is not None]
        return (min(values), max(values)) if values else None

    async def highest_version(self, source: str, bucket: str) -> int:
        return max((point.payload.version for point in self.points.values()), default=0)

    async def sweep_gone(self, *, before_version: int) -> None:
        return None

    def _reach(self) -> None:
        if self.away is not None:
            raise self.away

    def _matching(self, where: Where) -> list[Point]:
        return [point for _, point in sorted(self.points.items()) if matches(where, point.id, point.payload)]
