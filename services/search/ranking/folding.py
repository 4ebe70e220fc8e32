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


def fold(ranked: Sequence[Ranked], looks: Mapping[UUID, Look], same: float | None) -> Folded:
    """Fold near-duplicates; results that `looks` does not know stay as they are, and nothing is folded into them."""
    near: NDArray[np.bool_] = np.tril(_near(ranked, looks, same), -1)
    near_an_earlier = np.any(near, axis=1)
    leads = np.zeros(len(ranked), dtype=bool)
    by_bytes: dict[str, int] = {}
    kept: list[Ranked] = []
    duplicates: dict[UUID, int] = {}
    for at, one in enumerate(ranked):
        look = looks.get(one.id)
        if look is None:
            kept.append(one)
            continue
        found = np.flatnonzero(near[at] & leads)[:1].tolist() if near_an_earlier[at] else []
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
    ) -> tuple[dict[UUID, Look], dict[UUID, PointPayload]]:
        now = self._clock()
        looks: dict[UUID, Look | None] = {one: _look(read[one]) for one in ids if one in read}
        payloads = {one: read[one].payload for one in looks}
        for one in ids:
            until, look = self._kept.get(one, (now, None))
            if until > now and one not in looks:
                looks[one] = look
        missing = [one for one in ids if one not in looks]
        for at in range(0, len(missing), READ_CHUNK):
            asked = missing[at : at + READ_CHUNK]
            points = {point.id: point for point in await self._index.get(asked, with_vectors=True)}
            payloads |= {one: point.payload for one, point in points.items()}
            for one in asked:
                looks[one] = _look(points[one]) if one in points else None
        for one in payloads.keys() | set(missing):
            self._kept[one] = (now + REMEMBERED_SECONDS, looks[one])
            self._kept.move_to_end(one)
        while len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)
        return {one: look for one, look in looks.items() if look is not None}, payloads


def _look(point: StoredPoint | Hit) -> Look | None:
    if point.payload.status is not Status.INDEXED:
        return None
    return Look(point.vector, point.payload.sha256)


def _near(ranked: Sequence[Ranked], looks: Mapping[UUID, Look], same: float | None) -> NDArray[np.bool_]:
    """Which pairs are near by their vectors, shape (n, n)."""
    vectors = [look.vector if (look := looks.get(one.id)) else None for one in ranked]
    known = next((vector for vector in vectors if vector is not None), None)
    if same is None or known is None:
        return np.zeros((len(ranked), len(ranked)), dtype=bool)
    rows = np.stack([np.zeros_like(known) if vector is None else vector for vector in vectors]).astype(np.float64)
    near: NDArray[np.bool_] = rows @ rows.T >= same
    return near
