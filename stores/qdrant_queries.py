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
    hits = await _nearest(client, collection, query, limit + 1, threshold, where, read=True, with_vectors=with_vectors)
    if _goes_on(hits, limit, limit + 1):
        # Many points may have the score of the last: their payloads and vectors are not read to see who comes first.
        best = await rank(client, collection, query, limit, threshold, where, asked=TIED * (limit + 1))
        ids = [str(one.id) for one in best]
        records = await client.retrieve(collection, ids, with_payload=True, with_vectors=with_vectors)
        points = {point.id: point for point in map(stored_point, records)}
        scores = {one.id: one.score for one in best if one.id in points}
    else:
        points = {point.id: point for point in map(stored_point, hits)}
        scores = {UUID(str(hit.id)): hit.score for hit in _ordered_by_id(hits)[:limit]}
    return [Hit(one, score, points[one].payload, points[one].vector) for one, score in scores.items()]


async def rank(
    client: AsyncQdrantClient,
    collection: str,
    query: Vector,
    limit: int,
    threshold: float | None,
    where: Where,
    *,
    asked: int = 0,
) -> list[Ranked]:
    """The nearest points, best first, ties by id, those at the limit too; so many are `asked` for at first."""
    asked = asked or limit + 1
    while _goes_on(hits := await _nearest(client, collection, query, asked, threshold, where), limit, asked):
        asked *= TIED
    return [Ranked(UUID(str(hit.id)), hit.score) for hit in _ordered_by_id(hits)[:limit]]


async def _nearest(
    client: AsyncQdrantClient,
    collection: str,
    query: Vector,
    asked: int,
    threshold: float | None,
    where: Where,
    *,
    read: bool = False,
    with_vectors: bool = False,
) -> list[models.ScoredPoint]:
    bound, least = least_score(threshold)
    answer = await client.query_points(
        collection,
        query=query.tolist(),
        limit=asked,
        query_filter=qdrant_filter(where),
        score_threshold=bound,
        with_payload=read,
        with_vectors=with_vectors,
    )
    return [hit for hit in answer.points if hit.score >= least]


def _goes_on(hits: Sequence[models.ScoredPoint], limit: int, asked: int) -> bool:
    """Whether points beyond those that were asked for may have the score of the last within the limit."""
    return len(hits) >= asked and hits[limit - 1].score == hits[-1].score


def _ordered_by_id(hits: Sequence[models.ScoredPoint]) -> list[models.ScoredPoint]:
    """Best first, ties in the order of ids."""
    return sorted(hits, key=lambda hit: (-hit.score, UUID(str(hit.id))))


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
