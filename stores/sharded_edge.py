"""A collection of Qdrant Edge in several shards, each in a process of its own, so that all processors work at once.

One shard scans, reads and writes in one thread. A point belongs to the shard that its id says. They lie in
`<folder>/<collection>/shards-of-<how many>/<number>/`; a collection of one shard, as those of earlier releases, in
`<folder>/<collection>/` itself. How many there are is decided when a collection is made.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

from encoders.processors import usable_processors
from schemas.collection import Canary, CollectionMetadata
from schemas.errors import ConfigurationError
from stores.cursor import cursor_at, next_id_of
from stores.edge import EdgeIndex
from stores.edge_lock import POLL_SECONDS, CannotOpen, locked, opened_lock, refused
from stores.edge_wire import PackedCounts, PackedHit
from stores.filters import Bound, KeywordField, RangeField
from stores.merging import FacetMerge, merged, merged_vectors, share_of
from stores.points import newest_of_each, positive
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

FOLDER = "shards-of-"
"""What the folder of several shards is called, before their number."""
MOST_SHARDS = 4
"""Where nobody says how many: each takes a process, with 150 MB of its files mapped into memory even while it is empty,
and an answer waits for the slowest.
"""


class ShardedEdge:
    """A `VectorIndex` in `<folder>/<collection>`, open in one process at a time.

    `shards`: how many a collection gets that is made here; 0: as many as there are processors, at most `MOST_SHARDS`.
    `lock_wait`: seconds to wait for another process to let go of it. Bound to the event loop it was entered in.
    """

    def __init__(self, folder: Path, collection: str, *, shards: int = 0, lock_wait: float = 10.0) -> None:
        self._folder = folder.absolute() / collection
        self._wanted = shards or min(MOST_SHARDS, usable_processors())
        self._lock_wait = lock_wait
        self._opened: tuple[EdgeIndex, ...] = ()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start the processes and open the shards.

        Raises `ConfigurationError` when another process has it open, or when it cannot be read or written, and
        `ForeignCollection` when the shards are not of one collection.
        """
        async with AsyncExitStack() as stack:
            with ExitStack() as lock:
                lock.callback(os.close, await self._locked())
                number = self._number()
                if number > 1:
                    stack.push(lock.pop_all())
            # The only shard of a collection lies in the same folder, and its process takes this very lock.
            below, names = self._folder.parent, [self._folder.name]
            if number > 1:
                below, names = self._folder / f"{FOLDER}{number}", [str(one) for one in range(number)]
            shards = [EdgeIndex(below, one, lock_wait=self._lock_wait) for one in names]
            await stack.enter_async_context(_together(shards))
            self._opened = tuple(shards)
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
        await _each(one.ensure(stored or metadata) for one in self._shards[1:])
        return await self._shards[0].ensure(metadata)

    async def keep_canary(self, canary: Canary) -> CollectionMetadata:
        """Write the canary beside the first shard; answer what is stored."""
        return await self._shards[0].keep_canary(canary)

    async def write(self, points: Sequence[Point]) -> Sequence[Fate]:
        """Write each point unless a higher version of it is stored; what became of each is exact.

        Durable as `EdgeIndex.write` is. Raises `ValueError` for NaN, infinity or a vector of the wrong length, before
        anything is written. Where one shard fails, the points of the others are written all the same.
        """
        if not points:
            return []
        if len(self._shards) > 1:
            await self._shards[0].check(newest_of_each(points))
        parts = self._parts(points, [point.id for point in points])
        fates = await _each(shard.write(part) for shard, part in parts)
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

        async def nearest(most: int) -> Sequence[Sequence[PackedHit]]:
            asked = (vector, most, threshold, where)
            return await _each(one.nearest(*asked, with_vectors=with_vectors) for one in self._shards)

        best = await merged(nearest, positive(limit), len(self._shards), lambda one: _best_first(one.ranked))
        return [one.hit() for one in best]

    async def rank(
        self, vector: Vector, *, limit: int, threshold: float | None = None, where: Where = Where()
    ) -> Sequence[Ranked]:
        """The nearest points without payloads, best first, ties by id, none below `threshold`."""

        async def nearest(most: int) -> Sequence[Sequence[Ranked]]:
            return await _each(
                one.rank(vector, limit=most, threshold=threshold, where=where) for one in self._shards
            )  # fmt: skip

        return await merged(nearest, positive(limit), len(self._shards), _best_first)

    async def get(self, ids: Sequence[UUID], *, with_vectors: bool = False) -> Sequence[StoredPoint]:
        """The points that exist, of any status, in no order."""
        found = await _each(shard.get(part, with_vectors=with_vectors) for shard, part in self._parts(ids, ids))
        return [point for several in found for point in several]

    async def scroll(self, where: Where, *, limit: int, cursor: str | None = None, with_vectors: bool = False) -> Page:
        """A page of all points that match, in the order of their ids. Raises `ValueError` for a foreign cursor."""
        points: list[StoredPoint] = []
        rest, following = positive(limit), cursor
        while rest > 0:
            share = share_of(rest, len(self._shards))
            pages = await _each(
                one.scroll(where, limit=share, cursor=following, with_vectors=with_vectors) for one in self._shards
            )
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
        pages = await _each(one.scroll_vectors(where, limit=share, cursor=cursor) for one in self._shards)
        return merged_vectors(pages, _end(page.cursor for page in pages), limit)

    async def set_tags(self, news: Sequence[NewTags]) -> None:
        """Replace the tags of the points that are still indexed and of the version given; durable as `write` is."""
        await _each(shard.set_tags(part) for shard, part in self._parts(news, [one.id for one in news]))

    async def count(self, where: Where) -> int:
        """How many points match, exactly."""
        return sum(await _each(one.count(where) for one in self._shards))

    async def facet(self, field: KeywordField, where: Where, *, limit: int) -> Sequence[FacetCount]:
        """The values of a field with exact counts, most frequent first."""
        merge = FacetMerge(positive(limit), len(self._shards))
        while True:
            asked = merge.asked
            counts = await _each(one.counts(field, where, asked) for one in self._shards)
            best = await asyncio.to_thread(_merged, merge, counts)
            if best is not None:
                return best

    async def extremes(self, field: RangeField, where: Where) -> tuple[Bound, Bound] | None:
        """The least and the greatest value of a field; None where no point has it."""
        return await extremes(field, where, self._ordered)

    async def highest_version(self, source: str, bucket: str) -> int:
        """The highest version stored for a bucket, of any status; 0 where there is none."""
        return max(await _each(one.highest_version(source, bucket) for one in self._shards))

    async def sweep_gone(self, *, before_version: int) -> None:
        """Forget `gone` points with a lower version, a part at a time, so that searches come in between."""
        await _each(one.sweep_gone(before_version=before_version) for one in self._shards)

    @property
    def _shards(self) -> tuple[EdgeIndex, ...]:
        if not self._opened:
            raise RuntimeError(f"the index in {self._folder} is not open; use it inside `async with`")
        return self._opened

    async def _locked(self) -> int:
        """The lock of the whole, held here so that it outlives the death of any shard's process."""
        deadline = time.monotonic() + self._lock_wait
        try:
            lock = opened_lock(self._folder)
            try:
                while not locked(lock, os.getpid()):
                    if time.monotonic() >= deadline:
                        raise refused(lock, self._folder, self._lock_wait)
                    await asyncio.sleep(POLL_SECONDS)
            except BaseException:
                os.close(lock)
                raise
        except CannotOpen as error:
            raise ConfigurationError(str(error)) from None
        return lock

    def _number(self) -> int:
        """How many shards there are, or are to be made. Each tells, so that one that is lost is made anew."""
        for shard in self._folder.glob(f"{FOLDER}*/*"):
            number = shard.parent.name.removeprefix(FOLDER)
            if number.isdecimal() and _is_made(shard):
                return int(number)
        return 1 if _is_made(self._folder) else self._wanted

    async def _complete(self) -> None:
        """Make the shards that are missing, which a crash while the collection was made, or a loss, left out."""
        known = await _each(one.metadata() for one in self._shards)
        stored = next((one for one in known if one is not None), None)
        if stored is not None:
            await _each(one.ensure(stored) for one in self._shards)

    async def _ordered(self, field: RangeField, where: Where, descending: bool, limit: int) -> Sequence[StoredPoint]:
        def place(one: StoredPoint) -> float:
            value = getattr(one.payload, field.value)
            number: float = value.timestamp() if field.is_date else value
            return -number if descending else number

        async def ordered(most: int) -> Sequence[Sequence[StoredPoint]]:
            return await _each(one.ordered(field, where, descending, most) for one in self._shards)

        return await merged(ordered, limit, len(self._shards), place)

    def _shard_of(self, point: UUID) -> EdgeIndex:
        return self._shards[point.int % len(self._shards)]

    def _parts(self, items: Sequence[T], ids: Sequence[UUID]) -> list[tuple[EdgeIndex, list[T]]]:
        """What falls to each shard, in order, without shards to which nothing does."""
        parts: dict[EdgeIndex, list[T]] = defaultdict(list)
        for item, point in zip(items, ids, strict=True):
            parts[self._shard_of(point)].append(item)
        return list(parts.items())


@asynccontextmanager
async def _together(shards: Sequence[EdgeIndex]) -> AsyncIterator[None]:
    """All opened at once, and left at once."""
    entered: list[EdgeIndex] = []

    async def enter(shard: EdgeIndex) -> None:
        await shard.__aenter__()
        entered.append(shard)

    try:
        await _each(enter(one) for one in shards)
        yield
    finally:
        await _each(one.__aexit__(None, None, None) for one in entered)


async def _each(asked: Iterable[Awaitable[T]]) -> list[T]:
    """All answers; the first error only after all have ended, so that whoever asks again meets nobody's rest."""
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for one in answers:
        if isinstance(one, BaseException):
            raise one
    return [one for one in answers if not isinstance(one, BaseException)]


def _merged(merge: FacetMerge, counts: Sequence[PackedCounts]) -> list[FacetCount] | None:
    return merge.best([one.pairs() for one in counts])


def _is_made(shard: Path) -> bool:
    return (shard / "collection.json").exists() or (shard / "shard").is_dir()


def _best_first(one: Ranked) -> tuple[float, UUID]:
    return -one.score, one.id


def _end(cursors: Iterable[str | None]) -> UUID | None:
    """The least id that a shard has not read: what comes before is complete. None where all are read to their end."""
    following = [one for one in map(next_id_of, cursors) if one is not None]
    return min(following, default=None)
