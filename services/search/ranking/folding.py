"""Near-duplicates in a ranking: folded into the best of them, with their number.

From the best result on, each is folded into the best-ranked earlier result that it is near to and that was not folded
itself: their vectors' cosine is at least `Nearness.same`, or their bytes are the same (SHA-256). So what becomes of a
result depends on better ones alone: however far a ranking is read, its beginning is folded alike, and a result that
was folded on one page comes on none. That holds for the best `FOLDED_DEPTH` of a ranking; beyond, nothing is folded.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from schemas.collection import PointPayload, Status
from services.search.collection import Collection
from stores.vectors import Hit, Ranked, StoredPoint, Vector, VectorIndex

FOLDED_DEPTH = 1000
"""How far down a ranking near-duplicates are folded."""

READ_CHUNK = 100
"""Vectors read in one go, so that other searches come in between."""

AT_ONCE = 200
"""Results that are compared in less time than it takes to hand them to a thread and wait for it."""

REMEMBERED = 5000
REMEMBERED_SECONDS = 60.0
"""Looks that are kept for the pages that follow, and for how long they are believed."""


@dataclass(frozen=True)
class Nearness:
    """Least cosines: of two versions of the `same` picture, and of pictures that look `similar`."""

    same: float
    similar: float


PICTURES = Nearness(same=0.99, similar=0.96)
"""Measured on `sightline-small`, see docs/relevance.md."""

_NEARNESS: Mapping[str, Nearness | None] = {"filename-tags": None}


def nearness_of(model: str) -> Nearness | None:
    """What is near for a model; None where vectors tell nothing of pictures, and only equal bytes count."""
    return _NEARNESS.get(model, PICTURES)


@dataclass(frozen=True)
class Look:
    """What an image is compared by."""

    vector: Vector | None
    sha256: str | None


@dataclass(frozen=True)
class Folded:
    """A ranking without what was folded; `duplicates` is how many were folded into each that stands for others.

    `payloads` are those that had to be read for it just now, of any status.
    """

    ranked: Sequence[Ranked]
    duplicates: Mapping[UUID, int]
    payloads: Mapping[UUID, PointPayload] = field(default_factory=dict)


def fold(ranked: Sequence[Ranked], looks: Mapping[UUID, Look | None], same: float | None) -> Folded:
    """Fold near-duplicates; results that `looks` does not know stay as they are, and nothing is folded into them."""
    # In the order of the ranking: Python takes long to hash a UUID.
    seen = [looks.get(one.id) for one in ranked]
    near = _near(seen, same)
    first_near = near.argmax(axis=1).tolist() if ranked else []
    leads = np.zeros(len(ranked), dtype=bool)
    by_bytes: dict[str, int] = {}
    kept: list[Ranked] = []
    duplicates: dict[UUID, int] = {}
    for at, (one, look) in enumerate(zip(ranked, seen, strict=True)):
        if look is None:
            kept.append(one)
            continue
        found = np.flatnonzero(near[at] & leads)[:1].tolist() if first_near[at] < at else []
        if look.sha256 in by_bytes:
            found.append(by_bytes[look.sha256])
        if found:
            leader = ranked[min(found)].id
            duplicates[leader] = duplicates.get(leader, 0) + 1
            continue
        kept.append(one)
        leads[at] = True
        if look.sha256 is not None:
            by_bytes[look.sha256] = at
    return Folded(kept, duplicates)


class Folding:
    """Folds rankings of one index, whose vectors it reads and keeps for a minute."""

    def __init__(
        self, index: VectorIndex, collection: Collection, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._index = index
        self._collection = collection
        self._clock = clock
        self._kept: OrderedDict[UUID, tuple[float, Look | None]] = OrderedDict()

    async def fold(self, ranked: Sequence[Ranked], read: Mapping[UUID, Hit] = {}) -> Folded:
        """Fold the best `FOLDED_DEPTH` of a ranking. Raises `DependencyUnavailable`.

        `read` is what was read of them with the ranking, vectors too; the others are read here.
        """
        metadata = await self._collection.metadata()
        if metadata is None or len(ranked) < 2:
            return Folded(ranked, {}, {one: hit.payload for one, hit in read.items()})
        best, rest = ranked[:FOLDED_DEPTH], ranked[FOLDED_DEPTH:]
        nearness = nearness_of(metadata.encoder.model)
        looks, payloads = await self._looks([one.id for one in best], read)
        same = nearness.same if nearness else None
        # A thousand are compared in 40 ms, which other requests need not wait for.
        folded = fold(best, looks, same) if len(best) <= AT_ONCE else await asyncio.to_thread(fold, best, looks, same)
        return Folded([*folded.ranked, *rest], folded.duplicates, payloads)

    async def _looks(
        self, ids: Sequence[UUID], read: Mapping[UUID, Hit]
    ) -> tuple[dict[UUID, Look | None], dict[UUID, PointPayload]]:
        now = self._clock()
        looks: dict[UUID, Look | None] = {}
        points: dict[UUID, StoredPoint | Hit] = {}
        missing: list[UUID] = []
        for one in ids:
            if (hit := read.get(one)) is not None:
                points[one] = hit
            elif (kept := self._kept.get(one)) is not None and kept[0] > now:
                looks[one] = kept[1]
            else:
                missing.append(one)
        for at in range(0, len(missing), READ_CHUNK):
            asked = missing[at : at + READ_CHUNK]
            points |= {point.id: point for point in await self._index.get(asked, with_vectors=True)}
        fresh = {one: _look(point) for one, point in points.items()}
        fresh |= {one: None for one in missing if one not in fresh}
        for one, look in fresh.items():
            self._kept[one] = (now + REMEMBERED_SECONDS, look)
            self._kept.move_to_end(one)
        while len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)
        return looks | fresh, {one: point.payload for one, point in points.items()}


def _look(point: StoredPoint | Hit) -> Look | None:
    if point.payload.status is not Status.INDEXED:
        return None
    return Look(point.vector, point.payload.sha256)


def _near(looks: Sequence[Look | None], same: float | None) -> NDArray[np.bool_]:
    """Which pairs are near by their vectors, shape (n, n)."""
    vectors = [None if look is None else look.vector for look in looks]
    known = next((vector for vector in vectors if vector is not None), None)
    if same is None or known is None:
        return np.zeros((len(looks), len(looks)), dtype=bool)
    nothing = np.zeros_like(known)
    rows = np.array([nothing if vector is None else vector for vector in vectors], dtype=np.float64)
    near: NDArray[np.bool_] = rows @ rows.T >= same
    return near
