"""The index end: points with versions, conditional writes, and the few reads that Sightline needs.

One `VectorIndex` is one collection. Implementations: Qdrant Edge in one shard, in several, each in a process of its
own, and a Qdrant server. One contract suite runs on all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from schemas.collection import Canary, CollectionMetadata, PointPayload, Status
from schemas.errors import ConfigurationError
from schemas.events import Tag
from stores.filters import Between, Bound, Filter, KeyPrefix, KeywordField, Match, Not, RangeField, Tagged

Vector = NDArray[np.float32]
"""Shape (dimension,), unit length."""

Vectors = NDArray[np.float32]
"""Shape (n, dimension), rows of unit length."""


class ForeignCollection(ConfigurationError):
    """The collection was made by another encoder; the message names both and says what to do."""


@dataclass(frozen=True)
class Point:
    """A point to write. `vector` is None for every status but `indexed`."""

    id: UUID
    payload: PointPayload
    vector: Vector | None = None


class Fate(StrEnum):
    """What became of a point that was offered to the index."""

    CHANGED = "changed"
    """It was written, and told something new: another status or ETag than what was stored, or the first of its id."""
    SAME = "same"
    """It was written, and an earlier look had told the same, as after a hint that came twice."""
    AGAIN = "again"
    """A point of this very version was stored already: the record was delivered, or the call made, once more."""
    STALE = "stale"
    """It was dropped: the index holds a higher version."""


@dataclass(frozen=True)
class StoredPoint:
    """A point as it was read; `vector` only where it was asked for and exists."""

    id: UUID
    payload: PointPayload
    vector: Vector | None = None


@dataclass(frozen=True)
class Hit:
    """A search result; `score` is the cosine similarity, `vector` is there where it was asked for."""

    id: UUID
    score: float
    payload: PointPayload
    vector: Vector | None = None


@dataclass(frozen=True)
class Ranked:
    """A search result without its payload; `score` is the cosine similarity."""

    id: UUID
    score: float


@dataclass(frozen=True)
class FacetCount:
    """How many points have `value` in a field."""

    value: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Where:
    """A conjunction of conditions; absent ones hold for every point.

    Times are aware; `after` is inclusive, `before` exclusive.
    """

    status: Status | None = Status.INDEXED
    source: str | None = None
    bucket: str | None = None
    prefix: str | None = None
    taken_after: datetime | None = None
    taken_before: datetime | None = None
    uploaded_after: datetime | None = None
    uploaded_before: datetime | None = None
    tag: str | None = None
    """Points that have this tag, letter for letter."""
    tag_score: float | None = None
    """The least score of that tag; without `tag` it means nothing."""
    tags_not_of: str | None = None
    """Points whose tags are of another version than this (see `encoders.tagger`), or of none."""
    without: tuple[UUID, ...] = field(default=())
    """Points that are not wanted, such as the one that a search starts from."""
    filter: Filter | None = None
    """Holds beside all the others; here conditions nest."""

    def conditions(self) -> tuple[Filter, ...]:
        """Everything but `without`, as filters that must all hold."""
        found: list[Filter] = [
            Match(name, str(value))
            for name, value in (
                (KeywordField.STATUS, self.status),
                (KeywordField.SOURCE, self.source),
                (KeywordField.BUCKET, self.bucket),
            )
            if value is not None
        ]
        if self.prefix:
            found.append(KeyPrefix(self.prefix))
        if self.taken_after or self.taken_before:
            found.append(Between(RangeField.TAKEN_AT, self.taken_after, self.taken_before))
        if self.uploaded_after or self.uploaded_before:
            found.append(Between(RangeField.UPLOADED_AT, self.uploaded_after, self.uploaded_before))
        if self.tag is not None:
            found.append(Tagged(self.tag, self.tag_score))
        if self.tags_not_of is not None:
            found.append(Not(Match(KeywordField.TAGS_VERSION, self.tags_not_of)))
        if self.filter is not None:
            found.append(self.filter)
        return tuple(found)


@dataclass(frozen=True)
class Page:
    """A page of a scroll; `cursor` is None on the last one."""

    points: Sequence[StoredPoint]
    cursor: str | None


@dataclass(frozen=True)
class VectorPage:
    """A page of vectors: row i of `vectors` is the point `ids[i]` as a look of `versions[i]` found it.

    Points without a vector are left out, so that a page may be short, or empty, and not the last. `cursor` is
    None on the last one.
    """

    ids: Sequence[UUID]
    versions: Sequence[int]
    vectors: Vectors
    cursor: str | None


@dataclass(frozen=True)
class NewTags:
    """Tags for the image that the look of `version` found; `tags_version` says what they were made by."""

    id: UUID
    version: int
    tags: Sequence[Tag]
    tags_version: str


class VectorIndex(Protocol):
    """One collection. Every method may raise `DependencyUnavailable`, and may be called concurrently."""

    async def __aenter__(self) -> Self:
        """Open or connect. Raises `ConfigurationError` (a locked index, a server that is too old, a wrong key)."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush and close."""
        ...

    async def metadata(self) -> CollectionMetadata | None:
        """What the collection was made for; None while there is none."""
        ...

    async def ensure(self, metadata: CollectionMetadata) -> CollectionMetadata:
        """Make the collection with all payload indexes where it is missing; answer what is stored.

        Idempotent and safe when two processes do it at once. Raises `ForeignCollection` when the stored
        encoder's identity differs.
        """
        ...

    async def keep_canary(self, canary: Canary) -> CollectionMetadata:
        """Write the canary over that of the collection, which must exist; answer what is stored afterwards.

        Of several writers at once the last one's stays, and what is answered may already be another's.
        """
        ...

    async def write(self, points: Sequence[Point]) -> Sequence[Fate]:
        """Write each point unless a higher version of it is stored; return when all is applied and durable.

        Of several points with one id the highest version is kept (ties: the last). The answer has a fate for each
        point, in their order. It comes from what is stored, not from what was sent: see docs/decisions/0026.
        """
        ...

    async def search(
        self,
        vector: Vector,
        *,
        limit: int,
        threshold: float | None = None,
        where: Where = Where(),
        with_vectors: bool = False,
    ) -> Sequence[Hit]:
        """The nearest points by cosine, best first, ties in the order of ids; `threshold` is the least score."""
        ...

    async def rank(
        self, vector: Vector, *, limit: int, threshold: float | None = None, where: Where = Where()
    ) -> Sequence[Ranked]:
        """What `search` answers, without payloads: cheap for a limit of 10,000."""
        ...

    async def get(self, ids: Sequence[UUID], *, with_vectors: bool = False) -> Sequence[StoredPoint]:
        """The points that exist, of any status, in no order."""
        ...

    async def scroll(self, where: Where, *, limit: int, cursor: str | None = None, with_vectors: bool = False) -> Page:
        """A page of all points that match, in the order of their ids. Raises `ValueError` for a cursor not its own."""
        ...

    async def scroll_by(
        self, field: RangeField, where: Where, *, descending: bool, limit: int, cursor: str | None = None
    ) -> Page:
        """A page of the points that match and have the field, in the order of its values, ties in that of ids.

        Across the pages no point comes twice and none is lost, whatever is written meanwhile, as long as its own
        value stays. Raises `ValueError` for a cursor that is none of this field and direction.
        """
        ...

    async def scroll_vectors(self, where: Where, *, limit: int, cursor: str | None = None) -> VectorPage:
        """A page of what `scroll` answers, reduced to what is computed with: several times as fast."""
        ...

    async def set_tags(self, news: Sequence[NewTags]) -> None:
        """Replace the tags of each point that is still `indexed` and of the very version that is given.

        Nothing else of the point changes, and a point that was overwritten, went or was swept meanwhile is left as
        it is. Returns when all is applied and durable. Of several with one id the last one that applies is kept.
        """
        ...

    async def count(self, where: Where) -> int:
        """How many points match, exactly."""
        ...

    async def facet(self, field: KeywordField, where: Where, *, limit: int) -> Sequence[FacetCount]:
        """The values of a field with exact counts of the points that match, most frequent first, ties by value."""
        ...

    async def extremes(self, field: RangeField, where: Where) -> tuple[Bound, Bound] | None:
        """The least and the greatest value of a field among the points that match; None where none has it."""
        ...

    async def highest_version(self, source: str, bucket: str) -> int:
        """The highest version stored for a bucket, of any status; 0 where there is none."""
        ...

    async def sweep_gone(self, *, before_version: int) -> None:
        """Forget `gone` points with a lower version, by one filter evaluated where the points are."""
        ...
