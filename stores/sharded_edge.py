"""A collection of Qdrant Edge in several shards, each in a process of its own, so that all processors work at once.

One shard scans, reads and writes in one thread. A point belongs to the shard that its id says. The first one lies where
the only one of an earlier release lies, in `<folder>/<collection>/`, the others below that, in `shards/<number>/`. How
many there are is decided when a collection is made.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

from schemas.collection import Canary, CollectionMetadata
from stores.cursor import cursor_at, next_id_of
from stores.edge import EdgeIndex
from stores.filters import Bound, KeywordField, RangeField
from stores.merging import FacetMerge, merged_ranking, merged_vectors, share_of
from stores.points import positive
from stores.value_order import ValueOrder, extremes
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

T = TypeVar("T")

MOST_SHARDS = 4
"""Where nobody says how many: each takes a process of 60 MB and more, and an answer waits for the slowest."""


class ShardedEdge:
    """A `VectorIndex` in `<folder>/<collection>`, open in one process at a time.

    `shards`: how many a collection gets that is made here; 0: as many as there are processors, at most `MOST_SHARDS`.
    `lock_wait`: seconds to wait for another process to let go of it. Bound to the event loop it was entered in.
    """

    def __init__(self, folder: Path, collection: str, *, shards: int = 0, lock_wait: float = 10.0) -> None:
        self._more = folder / collection / "shards"
        self._wanted = shards or min(MOST_SHARDS, _processors())
        self._lock_wait = lock_wait
        self._shards: tuple[EdgeIndex, ...] = (EdgeIndex(folder, collection, lock_wait=lock_wait),)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start the processes and open the shards.

        Raises `ConfigurationError` when another process has one open, or when it cannot be read or written, and
        `ForeignCollection` when they are not of one collection.
        """
        async with AsyncExitStack() as stack:
            # Whoever has the first one open has them all.
            first = await stack.enter_async_context(self._shards[0])
            numbers = await self._numbers(first)
            others = [EdgeIndex(self._more, str(number), lock_wait=self._lock_wait) for number in numbers]
            opened = await asyncio.gather(*map(stack.enter_async_context, others), return_exceptions=True)
            for one in opened:
                if isinstance(one, BaseException):
                    raise one
            self._shards = (first, *others)
            await self._complete()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the processes finish what they were asked, flush, close and end."""
        await self._stack.aclose()

    @property
    def process_ids(self) -> Sequence[int]:
        """The processes that hold the shards now."""
        return [one.process_id for one in self._shards if one.process_id is not None]

    async def metadata(self) -> CollectionMetadata | None:
        """What the collection was made for; None while there is none."""
        return await self._shards[0].metadata()

    async def ensure(self, metadata: CollectionMetadata) -> CollectionMetadata:
        """Make the collection where it is missing; answer what is stored. Raises `ForeignCollection`."""
        stored = await self.metadata()
        # The first comes last: while it has no metadata there is no collection.
        await asyncio.gather(*(one.ensure(stored or metadata) for one in self._shards[1:]))
        return await self._shards[0].ensure(metadata)

    async def keep_canary(self, canary: Canary) -> CollectionMetadata:
        """Write the canary beside the first shard; answer what is stored."""
        return await self._shards[0].keep_canary(canary)

    async def write(self, points: Sequence[Point]) -> Sequence[Fate]:
        """Write each point unless a higher version of it is stored; what became of each is exact.

        Durable as `EdgeIndex.write` is. Raises `ValueError` for NaN, infinity or a vector of the wrong length, before
        anything is written.
        """
        if len(self._shards) > 1:
            await self._shards[0].check(points)
        parts = self._parts(points, [point.id for point in points])
        fates = await asyncio.gather(*(shard.write(part) for shard, part in parts))
        told = {shard: iter(several) for (shard, _), several in zip(parts, fates, strict=True)}
        return [next(told[self._shard_of(point.id)]) for point in points]

    async def search(
        self,
        vector: Vector,
        *,
        limit: int,
        threshold: float | None = None,
        where: Where = Where(),
        with_vectors: bool = False,
    ) -> Sequence[Hit]:
        """The nearest points by cosine, best first, ties by id, none below `threshold`."""
        read = share_of(positive(limit), len(self._shards))
        while True:
            found = await asyncio.gather(
                *(one.nearest(vector, limit, read, threshold, where, with_vectors=with_vectors) for one in self._shards)
            )
            best = merged_ranking([one.ranked for one in found], limit)
            if all(number < len(found[at].records) for at, number in best):
                return [found[at].hit(number) for at, number in best]
            # One shard has so many of the best, which is rare, that they were not all read: then each reads its own.
            read = limit

    async def rank(
        self, vector: Vector, *, limit: int, threshold: float | None = None, where: Where = Where()
    ) -> Sequence[Ranked]:
        """The nearest points without payloads, best first, ties by id, none below `threshold`."""
        found = await asyncio.gather(
            *(one.rank(vector, limit=limit, threshold=threshold, where=where) for one in self._shards)
        )
        return [found[at][number] for at, number in merged_ranking(found, limit)]

    async def get(self, ids: Sequence[UUID], *, with_vectors: bool = False) -> Sequence[StoredPoint]:
        """The points that exist, of any status, in no order."""
        parts = self._parts(ids, ids)
        found = await asyncio.gather(*(shard.get(part, with_vectors=with_vectors) for shard, part in parts))
        return [point for several in found for point in several]

    async def scroll(self, where: Where, *, limit: int, cursor: str | None = None, with_vectors: bool = False) -> Page:
        """A page of all points that match, in the order of their ids. Raises `ValueError` for a foreign cursor."""
        points: list[StoredPoint] = []
        rest, following = positive(limit), cursor
        while rest > 0:
            share = share_of(rest, len(self._shards))
            pages = await asyncio.gather(
                *(
                    one.scroll(where, limit=share, cursor=following, with_vectors=with_vectors)
                    for one in self._shards
                )
            )  # fmt: skip
            end = _end(page.cursor for page in pages)
            several = [one for page in pages for one in page.points if end is None or one.id < end]
            points += sorted(several, key=lambda one: one.id)
            rest, following = limit - len(points), cursor_at(end)
            if end is None:
                break
        return Page(points[:limit], cursor_at(points[limit].id) if rest < 0 else following)

    async def scroll_by(
        self, field: RangeField, where: Where, *, descending: bool, limit: int, cursor: str | None = None
    ) -> Page:
        """A page of the points that have the field, in its order. Raises `ValueError` for a foreign cursor."""
        order = ValueOrder(field, descending, self._ordered, self.scroll)
        return await order.page(where, positive(limit), cursor)

    async def scroll_vectors(self, where: Where, *, limit: int, cursor: str | None = None) -> VectorPage:
        """A page of ids, versions and vectors, in the order of ids. Raises `ValueError` for a foreign cursor."""
        share = max(1, positive(limit) // len(self._shards))
        pages = await asyncio.gather(
            *(one.scroll_vectors(where, limit=share, cursor=cursor) for one in self._shards)
        )  # fmt: skip
        return merged_vectors(pages, _end(page.cursor for page in pages))

    async def set_tags(self, news: Sequence[NewTags]) -> None:
        """Replace the tags of the points that are still indexed and of the version given; durable as `write` is."""
        await asyncio.gather(*(shard.set_tags(part) for shard, part in self._parts(news, [one.id for one in news])))

    async def count(self, where: Where) -> int:
        """How many points match, exactly."""
        return sum(await asyncio.gather(*(one.count(where) for one in self._shards)))

    async def facet(self, field: KeywordField, where: Where, *, limit: int) -> Sequence[FacetCount]:
        """The values of a field with exact counts, most frequent first."""
        merge = FacetMerge(positive(limit), len(self._shards))
        while True:
            asked = merge.asked
            counts = await asyncio.gather(*(one.facet(field, where, limit=asked) for one in self._shards))
            # Up to all values of all images, in a thread: a million take a second.
            best = await asyncio.to_thread(merge.best, counts)
            if best is not None:
                return best

    async def extremes(self, field: RangeField, where: Where) -> tuple[Bound, Bound] | None:
        """The least and the greatest value of a field; None where no point has it."""
        return await extremes(field, where, self._ordered)

    async def highest_version(self, source: str, bucket: str) -> int:
        """The highest version stored for a bucket, of any status; 0 where there is none."""
        return max(await asyncio.gather(*(one.highest_version(source, bucket) for one in self._shards)))

    async def sweep_gone(self, *, before_version: int) -> None:
        """Forget `gone` points with a lower version, a part at a time, so that searches come in between."""
        await asyncio.gather(*(one.sweep_gone(before_version=before_version) for one in self._shards))

    async def _numbers(self, first: EdgeIndex) -> Sequence[int]:
        """The numbers of the shards beside the first: those that are there, or those that a new collection gets."""
        there = {int(one.name) for one in self._more.glob("*") if one.name.isdecimal() and one.is_dir()}
        if there:
            # A gap tells of a folder that was taken away: it is made anew, and its points come from the bucket again.
            return range(1, max(there) + 1)
        return () if await first.metadata() is not None else range(1, self._wanted)

    async def _complete(self) -> None:
        """Make the shards that are missing, which a crash while the collection was made, or a loss, left out."""
        known = await asyncio.gather(*(one.metadata() for one in self._shards))
        stored = next((one for one in known if one is not None), None)
        if stored is not None:
            await asyncio.gather(*(one.ensure(stored) for one in self._shards))

    async def _ordered(self, field: RangeField, where: Where, descending: bool, limit: int) -> Sequence[StoredPoint]:
        found = await asyncio.gather(*(one.ordered(field, where, descending, limit) for one in self._shards))
        points = [point for several in found for point in several]
        return sorted(points, key=lambda one: getattr(one.payload, field.value), reverse=descending)[:limit]

    def _shard_of(self, point: UUID) -> EdgeIndex:
        return self._shards[point.int % len(self._shards)]

    def _parts(self, items: Sequence[T], ids: Sequence[UUID]) -> list[tuple[EdgeIndex, list[T]]]:
        """What falls to each shard, in order, without shards to which nothing does."""
        parts: dict[EdgeIndex, list[T]] = defaultdict(list)
        for item, point in zip(items, ids, strict=True):
            parts[self._shard_of(point)].append(item)
        return list(parts.items())


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end(cursors: Iterable[str | None]) -> UUID | None:
    """The least id that a shard has not read: what comes before is complete. None where all are read to their end."""
    following = [one for one in map(next_id_of, cursors) if one is not None]
    return min(following, default=None)
