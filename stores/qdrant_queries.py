"""Reads of a Qdrant server that are more than one filter."""

from collections.abc import Sequence

from qdrant_client import AsyncQdrantClient, models

from stores.filters import KeywordField
from stores.qdrant_filters import qdrant_filter
from stores.vectors import FacetCount, Where

FACET_SLACK = 1000
"""Values beyond the limit that are looked at for ties, since the server has no order among them."""


async def facet_counts(
    client: AsyncQdrantClient, collection: str, field: KeywordField, where: Where, limit: int
) -> Sequence[FacetCount]:
    """The values of a field with exact counts, most frequent first, ties by value."""
    answer = await client.facet(
        collection, field.value, facet_filter=qdrant_filter(where), limit=limit + FACET_SLACK, exact=True
    )
    counts = sorted((-hit.count, str(hit.value)) for hit in answer.hits if hit.count)
    return [FacetCount(value, -count) for count, value in counts[:limit]]


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
