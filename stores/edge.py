"""A collection in one shard of Qdrant Edge, in a process of its own (see `stores.edge_process`).

`stores.sharded_edge` makes one collection of several.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from schemas.collection import Canary, CollectionMetadata
from schemas.errors import ConfigurationError, DependencyUnavailable
from stores.cursor import cursor_at, next_id_of
from stores.edge_channel import DEPENDENCY, EdgeChannel
from stores.edge_opening import open_collection
from stores.edge_wire import (
    PackedCounts,
    PackedHit,
    payload_on_wire,
    ranked,
    stored_point,
    tags_on_wire,
    vectors_of,
    where_on_wire,
)
from stores.filters import Bound, KeywordField, RangeField
from stores.points import checked_vector, chunks, fate, fates, foreign, least_score, newest_of_each, positive
from stores.value_order import ValueOrder, extremes
from stores.vectors import (
    FacetCount,
    Fate,
    ForeignCollection,
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

WRITE_CHUNK = 16
"""Points written in one go, about 5 ms: as long as a search has to wait for one writer."""
TAGS_CHUNK = 32
"""Points whose tags are written in one go, about 5 ms too."""
READ_CHUNK = 1000
"""Points read in one go, for the same reason."""
VECTOR_CHUNK = 256
"""Vectors read in one go, about 4 ms."""
SWEEP_CHUNK = 500
"""Points deleted in one go, about 50 ms."""
WRITERS = 2
"""Chunks of different writers that may stand in the line before a search."""


@dataclass(frozen=True)
class EdgeFacts:
    """For metrics: points of any status, segments, and points that are in the log only."""

    points: int
    segments: int
    unflushed: int


class EdgeIndex:
    """A `VectorIndex` in `<folder>/<collection>`, open in one process at a time.

    `lock_wait`: seconds to wait for another process to let go of it. Bound to the event loop it was entered in.
    """

    def __init__(self, folder: Path, collection: str, *, lock_wait: float = 10.0) -> None:
        self._folder = folder.absolute() / collection
        self._lock_wait = lock_wait
        self._channel: EdgeChannel | None = None
        self._entered = False
        self._starting = asyncio.Lock()
        self._ensuring = asyncio.Lock()
        self._writing = asyncio.Semaphore(WRITERS)
        self._metadata: CollectionMetadata | None = None

    async def __aenter__(self) -> Self:
        """Start the process and open the collection.

        Raises `ConfigurationError` when another process has it open, or when it cannot be read or written.
        """
        self._entered = True
        try:
            await self._connected()
        except BaseException:
            self._entered = False
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the process finish what it was asked, flush, close and end."""
        async with self._starting:
            self._entered = False
            if self._channel is not None:
                await self._channel.leave()
                self._channel = None

    @property
    def process_id(self) -> int | None:
        """The process that holds the shard now."""
        return self._channel.pid if self._channel else None

    async def metadata(self) -> CollectionMetadata | None:
        """What the collection was made for; None while there is none."""
        await self._connected()
        return self._metadata

    async def ensure(self, metadata: CollectionMetadata) -> CollectionMetadata:
        """Make the collection where it is missing; answer what is stored. Raises `ForeignCollection`."""
        async with self._ensuring:
            stored = await self.metadata()
            if stored is not None and stored.encoder != metadata.encoder:
                raise ForeignCollection(foreign(f"the index in {self._folder}", stored.encoder, metadata.encoder))
            kept = stored or metadata
            await self._ask("ensure", metadata=kept.model_dump_json(), dimension=kept.encoder.dimension)
            self._metadata = kept
            return kept

    async def keep_canary(self, canary: Canary) -> CollectionMetadata:
        """Write the canary beside the shard; answer what is stored."""
        async with self._ensuring:
            stored = await self.metadata()
            if stored is None:
                raise RuntimeError(
                    f"the collection in {self._folder} does not exist yet; call ensure before keep_canary"
                )
            kept = stored.model_copy(update={"canary": canary})
            await self._ask("keep_metadata", metadata=kept.model_dump_json(exclude_none=True))
            self._metadata = kept
            return kept

    async def write(self, points: Sequence[Point]) -> Sequence[Fate]:
        """Write each point unless a higher version of it is stored; what became of each is exact.

        Durable against the death of both processes; against power loss after the next flush, within a second
        of quiet. Raises `ValueError` for NaN, infinity or a vector of the wrong length, before anything is written.
        """
        if not points:
            return []
        newest = newest_of_each(points)
        vectors = await self.check(newest)
        before: list[dict[str, Any] | None] = []
        for chunk in chunks(list(zip(newest, vectors, strict=True)), WRITE_CHUNK):
            async with self._writing:
                wire = [
                    (point.id.bytes, payload_on_wire(point.payload), None if vector is None else vector.tobytes())
                    for point, vector in chunk
                ]
                before += await self._ask("write", points=wire)
        written = {
            point.id: fate(point.payload.version, point.payload.status.value, point.payload.etag, stored)
            for point, stored in zip(newest, before, strict=True)
        }
        return fates(points, written)

    async def check(self, points: Sequence[Point]) -> list[Vector | None]:
        """The vectors as they can be written. Raises `ValueError` for NaN, infinity or a wrong length."""
        dimension = await self._dimension()
        return [
            None
            if point.vector is None
            else checked_vector(point.vector, dimension, f"point {point.id} ({point.payload.key})")
            for point in points
        ]

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
        found = await self.nearest(vector, limit, threshold, where, with_vectors=with_vectors)
        return [one.hit() for one in found]

    async def nearest(
        self, vector: Vector, limit: int, threshold: float | None, where: Where, *, with_vectors: bool
    ) -> Sequence[PackedHit]:
        """What `search` answers, for whoever may not need all of it."""
        _, least = least_score(threshold)
        found = await self._nearest("search", vector, limit, threshold, where, with_vectors=with_vectors)
        ids, scores, records = found or (b"", b"", [])
        return [PackedHit(one, record) for one, record in zip(ranked(ids, scores, least), records, strict=False)]

    async def get(self, ids: Sequence[UUID], *, with_vectors: bool = False) -> Sequence[StoredPoint]:
        """The points that exist, of any status, in no order."""
        records: list[Any] = []
        for chunk in chunks(list(dict.fromkeys(ids)), READ_CHUNK):
            records += await self._ask("get", ids=[one.bytes for one in chunk], with_vectors=with_vectors)
        return [stored_point(record) for record in records]

    async def scroll(self, where: Where, *, limit: int, cursor: str | None = None, with_vectors: bool = False) -> Page:
        """A page of all points that match, in the order of their ids. Raises `ValueError` for a foreign cursor."""
        positive(limit)
        start, wire = next_id_of(cursor), where_on_wire(where)
        following = start.bytes if start else None
        points: list[StoredPoint] = []
        while len(points) < limit:
            records, following = await self._ask(
                "scroll",
                where=wire,
                limit=min(limit - len(points), READ_CHUNK),
                start=following,
                with_vectors=with_vectors,
            )
            points += [stored_point(record) for record in records]
            if following is None:
                break
        return Page(points, cursor_at(UUID(bytes=following) if following else None))

    async def scroll_vectors(self, where: Where, *, limit: int, cursor: str | None = None) -> VectorPage:
        """A page of ids, versions and vectors, in the order of ids. Raises `ValueError` for a foreign cursor."""
        positive(limit)
        start, wire = next_id_of(cursor), where_on_wire(where)
        if await self.metadata() is None:
            return VectorPage([], [], vectors_of([], 1), None)
        following = start.bytes if start else None
        ids: list[UUID] = []
        versions: list[int] = []
        rows: list[bytes] = []
        while len(ids) < limit:
            found, looks, vectors, following = await self._ask(
                "scroll_vectors", where=wire, limit=min(limit - len(ids), VECTOR_CHUNK), start=following
            )
            ids += [UUID(bytes=one) for one in found]
            versions += looks
            rows += vectors
            if following is None:
                break
        cursor = cursor_at(UUID(bytes=following) if following else None)
        return VectorPage(ids, versions, vectors_of(rows, await self._dimension()), cursor)

    async def set_tags(self, news: Sequence[NewTags]) -> None:
        """Replace the tags of the points that are still indexed and of the version given; durable as `write` is."""
        if news and await self.metadata() is None:
            return
        for chunk in chunks(news, TAGS_CHUNK):
            async with self._writing:
                await self._ask("set_tags", news=[tags_on_wire(one) for one in chunk])

    async def count(self, where: Where) -> int:
        """How many points match, exactly."""
        return int(await self._ask("count", where=where_on_wire(where)))

    async def rank(
        self, vector: Vector, *, limit: int, threshold: float | None = None, where: Where = Where()
    ) -> Sequence[Ranked]:
        """The nearest points without payloads, best first, ties by id, none below `threshold`."""
        _, least = least_score(threshold)
        ids, scores = await self._nearest("rank", vector, limit, threshold, where) or (b"", b"")
        return ranked(ids, scores, least)

    async def scroll_by(
        self, field: RangeField, where: Where, *, descending: bool, limit: int, cursor: str | None = None
    ) -> Page:
        """A page of the points that have the field, in its order. Raises `ValueError` for a foreign cursor."""
        order = ValueOrder(field, descending, self.ordered, self.scroll)
        return await order.page(where, positive(limit), cursor)

    async def facet(self, field: KeywordField, where: Where, *, limit: int) -> Sequence[FacetCount]:
        """The values of a field with exact counts, most frequent first."""
        counts = await self.counts(field, where, positive(limit))
        return [FacetCount(value, count) for value, count in counts.pairs()]

    async def counts(self, field: KeywordField, where: Where, limit: int) -> PackedCounts:
        """What `facet` answers, for whoever adds it to what others answer, beside the event loop."""
        return PackedCounts(*await self._ask("facet", field=field.value, where=where_on_wire(where), limit=limit))

    async def extremes(self, field: RangeField, where: Where) -> tuple[Bound, Bound] | None:
        """The least and the greatest value of a field; None where no point has it."""
        return await extremes(field, where, self.ordered)

    async def highest_version(self, source: str, bucket: str) -> int:
        """The highest version stored for a bucket, of any status; 0 where there is none."""
        where = Where(status=None, source=source, bucket=bucket)
        return int(await self._ask("highest_version", where=where_on_wire(where)))

    async def sweep_gone(self, *, before_version: int) -> None:
        """Forget `gone` points with a lower version, a part at a time, so that searches come in between."""
        while await self._ask("sweep_gone", before_version=before_version, limit=SWEEP_CHUNK):
            pass

    async def facts(self) -> EdgeFacts:
        """Numbers for metrics; costs less than a millisecond."""
        return EdgeFacts(**await self._ask("facts"))

    async def _nearest(
        self, operation: str, vector: Vector, limit: int, threshold: float | None, where: Where, **more: Any
    ) -> Any:
        """The answer of a search; None where there is no collection."""
        positive(limit)
        if await self.metadata() is None:
            return None
        query = checked_vector(vector, await self._dimension(), "the query")
        wire = where_on_wire(where, of_vectors=True)
        bound, _ = least_score(threshold)
        return await self._ask(operation, vector=query.tobytes(), limit=limit, threshold=bound, where=wire, **more)

    async def ordered(self, field: RangeField, where: Where, descending: bool, limit: int) -> Sequence[StoredPoint]:
        """The first points in the order of a field; which ones of the last value are among them is chance."""
        wire = where_on_wire(where)
        found = await self._ask("ordered", field=field.value, where=wire, descending=descending, limit=limit)
        return [stored_point(record) for record in found]

    async def _dimension(self) -> int:
        if self._metadata is None:
            await self._connected()
        if self._metadata is None:
            raise RuntimeError(f"the collection in {self._folder} does not exist yet; call ensure before write")
        return self._metadata.encoder.dimension

    async def _ask(self, operation: str, **arguments: Any) -> Any:
        return await (await self._connected()).ask(operation, **arguments)

    async def _connected(self) -> EdgeChannel:
        if self._channel is not None and not self._channel.ended:
            return self._channel
        async with self._starting:
            if not self._entered:
                raise RuntimeError(f"the index in {self._folder} is not open; use it inside `async with`")
            if self._channel is None or self._channel.ended:
                self._channel = await self._opened(restart=self._channel is not None)
            return self._channel

    async def _opened(self, *, restart: bool) -> EdgeChannel:
        channel = await EdgeChannel.start(self._folder)
        try:
            self._metadata = await open_collection(channel, self._folder, self._lock_wait)
        except BaseException as error:
            await asyncio.shield(channel.leave())
            if restart and isinstance(error, ConfigurationError):
                # It was open before, so the settings work; whoever has it now may let go.
                raise DependencyUnavailable(DEPENDENCY, str(error), "It is tried again") from error
            raise
        return channel
