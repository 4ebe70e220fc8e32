"""An index in memory and an engine without a model, for tests of the search service alone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from imaging.formats import BadImage
from schemas.collection import Canary, CollectionMetadata
from schemas.dead_letter import RejectReason
from schemas.errors import DependencyUnavailable
from schemas.events import EncoderIdentity, Tag
from stores.vectors import Hit, NewTags, Page, Point, StoredPoint, Vector, VectorPage, Where

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


@dataclass
class FakeImage:
    vector: Vector


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

    async def write(self, points: Sequence[Point]) -> None:
        self._reach()
        for point in points:
            stored = self.points.get(point.id)
            if stored is None or stored.payload.version <= point.payload.version:
                self.points[point.id] = point

    async def search(
        self, vector: Vector, *, limit: int, threshold: float | None = None, where: Where = Where()
    ) -> Sequence[Hit]:
        self._reach()
        hits = [
            Hit(point.id, float(vector @ point.vector), point.payload)
            for point in self._matching(where)
            if point.vector is not None
        ]
        hits.sort(key=lambda hit: -hit.score)
        return [hit for hit in hits if threshold is None or hit.score >= threshold][:limit]

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

    async def scroll_vectors(self, where: Where, *, limit: int, cursor: str | None = None) -> VectorPage:
        raise NotImplementedError("a search computes with no stored vectors")

    async def set_tags(self, news: Sequence[NewTags]) -> None:
        raise NotImplementedError("a search writes nothing")

    async def count(self, where: Where) -> int:
        self._reach()
        return len(self._matching(where))

    async def highest_version(self, source: str, bucket: str) -> int:
        return max((point.payload.version for point in self.points.values()), default=0)

    async def sweep_gone(self, *, before_version: int) -> None:
        return None

    def _reach(self) -> None:
        if self.away is not None:
            raise self.away

    def _matching(self, where: Where) -> list[Point]:
        return [point for _, point in sorted(self.points.items()) if _matches(point, where)]


def _matches(point: Point, where: Where) -> bool:
    payload = point.payload
    taken, uploaded = payload.taken_at, payload.uploaded_at
    return (
        point.id not in where.without
        and (where.status is None or payload.status is where.status)
        and (where.source is None or payload.source == where.source)
        and (where.bucket is None or payload.bucket == where.bucket)
        and (where.tag is None or any(_is_wanted(tag, where) for tag in payload.tags))
        and (where.tags_not_of is None or payload.tags_version != where.tags_not_of)
        and (where.prefix is None or payload.key.startswith(where.prefix))
        and (where.taken_after is None or (taken is not None and taken >= where.taken_after))
        and (where.taken_before is None or (taken is not None and taken < where.taken_before))
        and (where.uploaded_after is None or (uploaded is not None and uploaded >= where.uploaded_after))
        and (where.uploaded_before is None or (uploaded is not None and uploaded < where.uploaded_before))
    )


def _is_wanted(tag: Tag, where: Where) -> bool:
    return tag.tag == where.tag and tag.score >= (where.tag_score or 0)
