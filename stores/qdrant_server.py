"""The index of a fleet: a Qdrant server, over gRPC."""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from qdrant_client import AsyncQdrantClient, models

from schemas.collection import Canary, CollectionMetadata
from stores.cursor import cursor_at, next_id_of
from stores.filters import Bound, KeywordField, RangeField
from stores.points import checked_vector, chunks, fates, fates_between, foreign, newest_of_each, positive
from stores.qdrant_checks import check_completed, check_nodes, check_version
from stores.qdrant_conversion import (
    conditional_tags,
    conditional_upsert,
    stored_point,
    swept,
    vector_page,
)
from stores.qdrant_errors import translated
from stores.qdrant_filters import qdrant_filter
from stores.qdrant_making import Layout, create_collection, make_payload_indexes, point_the_alias
from stores.qdrant_queries import facet_counts, highest_version, ordered, rank, search
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

WRITE_CHUNK = 128
"""Points in one request."""
READ_CHUNK = 1000
"""Points in one answer."""
METADATA_SECONDS = 60.0
"""How long the collection's metadata is believed: other processes change its canary."""


class QdrantIndex:
    """A `VectorIndex` in the collection `collection` of a Qdrant server, 1.19 or newer.

    `url` begins with http:// or, for TLS, https://; `timeout` is seconds for one request; `layout` is for a collection
    that `ensure` makes. A `client` that is given is used as it is and not closed: `AsyncQdrantClient(":memory:")` runs
    the same code without a server.
    """

    def __init__(
        self,
        collection: str,
        *,
        url: str = "http://localhost:6333",
        api_key: str = "",
        grpc_port: int = 6334,
        timeout: float = 30.0,
        layout: Layout = Layout(),
        client: AsyncQdrantClient | None = None,
    ) -> None:
        self._collection = collection
        self._url = url
        self._api_key = api_key
        self._grpc_port = grpc_port
        self._timeout = timeout
        self._layout = layout
        self._given = client
        self._connected: AsyncQdrantClient | None = client
        self._place = f"the Qdrant server at {url}" if client is None else "the Qdrant server"
        self._metadata: CollectionMetadata | None = None
        self._read_at = 0.0

    async def __aenter__(self) -> Self:
        """Connect. Raises `ConfigurationError` for a server that is too old and for a key that it refuses."""
        if self._given is None:
            # The client's own check of versions asks the server in a thread and only warns.
            self._connected = AsyncQdrantClient(
                url=self._url,
                prefer_grpc=True,
                grpc_port=self._grpc_port,
                api_key=self._api_key or None,
                timeout=max(1, round(self._timeout)),
                check_compatibility=False,
            )
        try:
            with translated(self._place, starting=True):
                check_version((await self._client.info()).version, self._place)
                # The health check needs no key; this does.
                await self._client.collection_exists(self._collection)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        if self._given is None and self._connected is not None:
            connected, self._connected = self._connected, None
            await connected.close()

    async def metadata(self) -> CollectionMetadata | None:
        """What the collection was made for; None while there is none."""
        if self._metadata is None or time.monotonic() - self._read_at > METADATA_SECONDS:
            with translated(self._place):
                exists = await self._client.collection_exists(self._collection)
                kept = (await self._client.get_collection(self._collection)).config.metadata if exists else None
            self._metadata = CollectionMetadata.model_validate(kept) if kept else None
            self._read_at = time.monotonic()
        return self._metadata

    async def ensure(self, metadata: CollectionMetadata) -> CollectionMetadata:
        """Make what is missing of collection, payload indexes and alias; answer what is stored.

        Raises `ForeignCollection`, and `DependencyUnavailable` while a collection that is to be made would get fewer
        copies than it is to have. Metadata is part of the request that makes the collection, so of two processes
        one makes it and both read the same.
        """
        with translated(self._place):
            if not await self._client.collection_exists(self._collection):
                await check_nodes(self._client, self._layout.replication_factor, self._place)
                await create_collection(self._client, self._collection, metadata, self._layout)
            stored = await self.metadata()
            if stored is None or stored.encoder != metadata.encoder:
                raise ForeignCollection(
                    foreign(
                        f"the collection {self._collection} of {self._place}",
                        stored.encoder if stored else None,
                        metadata.encoder,
                    )
                )
            await make_payload_indexes(self._client, self._collection)
            await point_the_alias(self._client, self._collection, self._place)
        return stored

    async def keep_canary(self, canary: Canary) -> CollectionMetadata:
        """Write the canary into the collection's metadata, of which the server leaves the rest as it is."""
        with translated(self._place):
            await self._client.update_collection(
                self._collection, metadata={"canary": canary.model_dump(mode="json", exclude_none=True)}
            )
        self._metadata = None
        stored = await self.metadata()
        if stored is None:
            raise RuntimeError(f"the collection {self._collection} does not exist yet; call ensure before keep_canary")
        return stored

    async def write(self, points: Sequence[Point]) -> Sequence[Fate]:
        """Write each point unless a higher version of it is stored; return when the server completed all.

        The server completes a conditional write whether or not it wrote, so versions are read before and after.
        Raises `DependencyUnavailable` when it only acknowledged them: they may yet be lost. Raises `ValueError`
        for NaN, infinity or a vector of the wrong length, before anything is written.
        """
        if not points:
            return []
        stored = await self.metadata()
        if stored is None:
            raise RuntimeError(f"the collection {self._collection} does not exist yet; call ensure before write")
        newest = newest_of_each(points)
        operations = [conditional_upsert(point, stored.encoder.dimension) for point in newest]
        ids = [point.id for point in newest]
        before = await self._payloads(ids, ["version", "status", "etag"])
        await self._update(operations)
        after = await self._payloads(ids, ["version"])
        return fates(points, fates_between(newest, before, after))

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
        positive(limit)
        query = await self._query(vector)
        if query is None:
            return []
        with translated(self._place):
            return await search(self._client, self._collection, query, limit, threshold, where, with_vectors)

    async def get(self, ids: Sequence[UUID], *, with_vectors: bool = False) -> Sequence[StoredPoint]:
        """The points that exist, of any status, in no order."""
        if await self.metadata() is None:
            return []
        records: list[models.Record] = []
        for chunk in chunks(list(dict.fromkeys(ids)), READ_CHUNK):
            with translated(self._place):
                records += await self._client.retrieve(
                    self._collection, [str(one) for one in chunk], with_payload=True, with_vectors=with_vectors
                )
        return [stored_point(record) for record in records]

    async def scroll(self, where: Where, *, limit: int, cursor: str | None = None, with_vectors: bool = False) -> Page:
        """A page of all points that match, in the order of their ids. Raises `ValueError` for a foreign cursor."""
        positive(limit)
        following = next_id_of(cursor)
        if await self.metadata() is None:
            return Page([], None)
        points: list[StoredPoint] = []
        while len(points) < limit:
            with translated(self._place):
                records, after = await self._client.scroll(
                    self._collection,
                    scroll_filter=qdrant_filter(where),
                    limit=min(limit - len(points), READ_CHUNK),
                    offset=str(following) if following else None,
                    with_payload=True,
                    with_vectors=with_vectors,
                )
            points += [stored_point(record) for record in records]
            following = UUID(str(after)) if after is not None else None
            if following is None:
                break
        return Page(points, cursor_at(following))

    async def scroll_vectors(self, where: Where, *, limit: int, cursor: str | None = None) -> VectorPage:
        """A page of ids, versions and vectors, in the order of ids. Raises `ValueError` for a foreign cursor."""
        positive(limit)
        following = next_id_of(cursor)
        stored = await self.metadata()
        if stored is None:
            return vector_page([], 1, None)
        with translated(self._place):
            records, after = await self._client.scroll(
                self._collection,
                scroll_filter=qdrant_filter(where),
                limit=min(limit, READ_CHUNK),
                offset=str(following) if following else None,
                with_payload=["version"],
                with_vectors=True,
            )
        return vector_page(
            records, stored.encoder.dimension, cursor_at(UUID(str(after)) if after is not None else None)
        )

    async def set_tags(self, news: Sequence[NewTags]) -> None:
        """Replace the tags of the points that are still indexed and of the version given.

        The server compares where it writes. Raises `DependencyUnavailable` when it only acknowledged some.
        """
        if news and await self.metadata() is not None:
            await self._update([conditional_tags(one) for one in news])

    async def count(self, where: Where) -> int:
        """How many points match, exactly."""
        if await self.metadata() is None:
            return 0
        with translated(self._place):
            answer = await self._client.count(self._collection, count_filter=qdrant_filter(where), exact=True)
        return answer.count

    async def rank(
        self, vector: Vector, *, limit: int, threshold: float | None = None, where: Where = Where()
    ) -> Sequence[Ranked]:
        """The nearest points without payloads, best first, ties by id, none below `threshold`."""
        positive(limit)
        query = await self._query(vector)
        if query is None:
            return []
        with translated(self._place):
            return await rank(self._client, self._collection, query, limit, threshold, where)

    async def scroll_by(
        self, field: RangeField, where: Where, *, descending: bool, limit: int, cursor: str | None = None
    ) -> Page:
        """A page of the points that have the field, in its order. Raises `ValueError` for a foreign cursor."""
        order = ValueOrder(field, descending, self._ordered, self.scroll)
        return await order.page(where, positive(limit), cursor)

    async def facet(self, field: KeywordField, where: Where, *, limit: int) -> Sequence[FacetCount]:
        """The values of a field with exact counts, most frequent first."""
        positive(limit)
        if await self.metadata() is None:
            return []
        with translated(self._place):
            return await facet_counts(self._client, self._collection, field, where, limit)

    async def extremes(self, field: RangeField, where: Where) -> tuple[Bound, Bound] | None:
        """The least and the greatest value of a field; None where no point has it."""
        return await extremes(field, where, self._ordered)

    async def highest_version(self, source: str, bucket: str) -> int:
        """The highest version stored for a bucket, of any status; 0 where there is none."""
        if await self.metadata() is None:
            return 0
        with translated(self._place):
            return await highest_version(self._client, self._collection, source, bucket)

    async def sweep_gone(self, *, before_version: int) -> None:
        """Forget `gone` points with a lower version, by one filter that the server evaluates."""
        if await self.metadata() is None:
            return
        with translated(self._place):
            result = await self._client.delete(
                self._collection, swept(before_version), wait=True, ordering=models.WriteOrdering.STRONG
            )
        check_completed([result], 1, self._place, self._collection)

    @property
    def _client(self) -> AsyncQdrantClient:
        if self._connected is None:
            raise RuntimeError(f"the index {self._collection} is not open; use it inside `async with`")
        return self._connected

    async def _query(self, vector: Vector) -> Vector | None:
        """The vector, checked; None where there is no collection to compare it with."""
        stored = await self.metadata()
        return None if stored is None else checked_vector(vector, stored.encoder.dimension, "the query")

    async def _ordered(self, field: RangeField, where: Where, descending: bool, limit: int) -> Sequence[StoredPoint]:
        if await self.metadata() is None:
            return []
        with translated(self._place):
            return await ordered(self._client, self._collection, field, where, descending, limit)

    async def _payloads(self, ids: Sequence[UUID], fields: list[str]) -> dict[UUID, Mapping[str, Any]]:
        """Some fields of the points that exist."""
        found: dict[UUID, Mapping[str, Any]] = {}
        for chunk in chunks(ids, READ_CHUNK):
            with translated(self._place):
                records = await self._client.retrieve(
                    self._collection, [str(one) for one in chunk], with_payload=fields, with_vectors=False
                )
            found |= {UUID(str(record.id)): record.payload or {} for record in records}
        return found

    async def _update(self, operations: Sequence[models.UpdateOperation]) -> None:
        for chunk in chunks(operations, WRITE_CHUNK):
            with translated(self._place):
                results = await self._client.batch_update_points(
                    self._collection, chunk, wait=True, ordering=models.WriteOrdering.STRONG
                )
            check_completed(results, len(chunk), self._place, self._collection)
