"""What people ask of a shard, in the Edge process: the nearest points, counts by value, points in the order of a field.

Counts by value are asked for as approximate ones: Edge then counts in each segment by itself, in 4 ms where 100,000
points have 4 of 100 tags, while for exact ones it asks every segment for every value (220 ms). The two differ only for
a point that lies in two segments, and here none does: nothing is optimised while the process serves.
"""

from array import array
from typing import Any

import qdrant_edge as edge

from stores.edge_conversion import floats, id_bytes, record_on_wire
from stores.edge_derived import without_derived
from stores.edge_filters import edge_filter

FACET_SLACK = 1000
FACET_GROWTH = 20
"""Values beyond the limit that are looked at for ties, since Edge has no order among them."""
TIED = 4
"""How many times more points are asked for while points of the same score stand on both sides of the limit."""


def search(
    shard: edge.EdgeShard, vector: bytes, limit: int, threshold: float | None, where: dict[str, Any]
) -> list[Any]:
    """Id, score and payload of the nearest, best first."""
    hits = shard.query(
        edge.QueryRequest(
            limit=limit,
            query=edge.Query.Nearest(floats(vector)),
            filter=edge_filter(where, shard),
            score_threshold=threshold,
            with_payload=True,
        )
    )
    return [[id_bytes(hit.id), hit.score, without_derived(hit.payload or {})] for hit in hits]


def rank(
    shard: edge.EdgeShard, vector: bytes, limit: int, threshold: float | None, where: dict[str, Any]
) -> tuple[bytes, bytes]:
    """Ids and float32 scores of the nearest, best first, ties by id, those at the limit too."""
    query, condition = edge.Query.Nearest(floats(vector)), edge_filter(where, shard)
    asked = limit + 1
    while True:
        hits = shard.query(edge.QueryRequest(limit=asked, query=query, filter=condition, score_threshold=threshold))
        if len(hits) < asked or hits[limit - 1].score != hits[-1].score:
            break
        asked *= TIED
    best = sorted((-hit.score, id_bytes(hit.id)) for hit in hits)[:limit]
    return b"".join(one for _, one in best), array("f", (-score for score, _ in best)).tobytes()


def facet(shard: edge.EdgeShard, field: str, where: dict[str, Any], limit: int) -> list[tuple[str, int]]:
    """The values of a field with how many points have each, most frequent first, ties by value."""
    asked = limit + FACET_SLACK
    while True:
        request = edge.FacetRequest(field, asked, exact=False, filter=edge_filter(where, shard))
        hits = shard.facet(request).hits
        if len(hits) < asked:
            break
        # Each segment named its own most frequent values alone, and one that is seldom in all of them may be missing.
        # Counted as "exact" they would be, one value after the other: that takes five times as long.
        asked *= FACET_GROWTH
    counts = [(-hit.count, str(hit.value)) for hit in hits if hit.count]
    return [(value, -count) for count, value in sorted(counts)[:limit]]


def ordered(shard: edge.EdgeShard, field: str, where: dict[str, Any], descending: bool, limit: int) -> list[list[Any]]:
    """Points that have the field, in the order of its values; which ones of the last value are there is chance."""
    direction = edge.Direction.Desc if descending else edge.Direction.Asc
    request = edge.ScrollRequest(
        limit=limit, filter=edge_filter(where), with_payload=True, order_by=edge.OrderBy(field, direction)
    )
    return [record_on_wire(record) for record in shard.scroll(request)[0]]
