"""What people ask of a Qdrant server: the nearest points, counts by value, points in the order of a field."""

from collections.abc import Sequence
from uuid import UUID

from qdrant_client import AsyncQdrantClient, models

from stores.filters import KeywordField, RangeField
from stores.points import least_score
from stores.qdrant_conversion import stored_point
from stores.qdrant_filters import qdrant_filter
from stores.vectors import FacetCount, Hit, Ranked, StoredPoint, Vector, Where

FACET_SLACK = 1000
"""Values beyond the limit that are looked at for ties, since the server has no order among them."""
TIED = 4
"""How many times more points are asked for while points of the same score stand on both sides of the limit."""


async def search(
    client: AsyncQdrantClient,
    collection: str,
    query: Vector,
    limit: int,
    threshold: float | None,
    where: Where,
    with_vectors: bool,
) -> list[Hit]:
    """The nearest points with what is known of them, as `rank` orders them."""
    best = await _best(client, collection, query, limit, threshold, where, payload=True, vectors=with_vectors)
    points = map(stored_point, best)
    return [Hit(point.id, hit.score, point.payload, point.vector) for hit, point in zip(best, points, strict=True)]


async def rank(
    client: AsyncQdrantClient, collection: str, query: Vector, limit: int, threshold: float | None, where: Where
) -> list[Ranked]:
    """The nearest points, best first, ties by id, those at the limit too."""
    best = await _best(client, collection, query, limit, threshold, where, payload=False, vectors=False)
    return [Ranked(UUID(str(hit.id)), hit.score) for hit in best]


async def _best(
    client: AsyncQdrantClient,
    collection: str,
    query: Vector,
    limit: int,
    threshold: float | None,
    where: Where,
    *,
    payload: bool,
    vectors: bool,
) -> list[models.ScoredPoint]:
    bound, least = least_score(threshold)
    asked = limit + 1
    while True:
        answer = await client.query_points(
            collection,
            query=query.tolist(),
            limit=asked,
            query_filter=qdrant_filter(where),
            score_threshold=bound,
            with_payload=payload,
            with_vectors=vectors,
        )
        hits = [hit for hit in answer.points if hit.score >= least]
        if len(hits) < asked or hits[limit - 1].score != hits[-1].score:
            return sorted(hits, key=lambda hit: (-hit.score, UUID(str(hit.id))))[:limit]
        asked *= TIED


async def facet_counts(
    client: AsyncQdrantClient, collection: str, field: KeywordField, where: Where, limit: int
) -> Sequence[FacetCount]:
    """The values of a field with exact counts, most frequent first, ties by value."""
    answer = await client.facet(
        collection, field.value, facet_filter=qdrant_filter(where), limit=limit + FACET_SLACK, exact=True
    )
    counts = sorted((-hit.count, str(hit.value)) for hit in answer.hits if hit.count)
    return [FacetCount(value, -count) for count, value in counts[:limit]]


async def ordered(
    client: AsyncQdrantClient, collection: str, field: RangeField, where: Where, descending: bool, limit: int
) -> Sequence[StoredPoint]:
    """Points that have the field, in the order of its values; which ones of the last value are there is chance."""
    direction = models.Direction.DESC if descending else models.Direction.ASC
    records, _ = await client.scroll(
        collection,
        scroll_filter=qdrant_filter(where),
        limit=limit,
        order_by=models.OrderBy(key=field.value, direction=direction),
        with_payload=True,
    )
    return [stored_point(record) for record in records]


async def highest_version(client: AsyncQdrantClient, collection: str, source: str, bucket: str) -> int:
    """The highest version stored for a bucket, of any status; 0 where there is none."""
    records, _ = await client.scroll(
        collection,
        scroll_filter=qdrant_filter(Where(status=None, source=source, bucket=bucket)),
        limit=1,
        order_by=models.OrderBy(key="version", direction=models.Direction.DESC),
        with_payload=["version"],
    )
    return max((int(record.payload["version"]) for record in records if record.payload), default=0)
