"""What people ask of a shard, in the Edge process: the nearest points, counts by value, points in the order of a field.

Counts by value are asked for as approximate ones: Edge then counts in each segment by itself, in 4 ms where 100,000
points have 4 of 100 tags, while for exact ones it asks every segment for every value (220 ms). The two differ only for
a point that lies in two segments, and here none does: nothing is optimised while the process serves.
"""

import math
from array import array
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from stores.edge_config import EXACT, search_params
from stores.edge_conversion import floats, id_bytes, record_on_wire
from stores.edge_filters import edge_filter

FACET_SLACK = 1000
FACET_GROWTH = 20
"""Values beyond the limit that are looked at for ties, since Edge has no order among them."""
TIED = 4
"""How many times more points are asked for while points of the same score stand on both sides of the limit."""
MOST_SIFTED, SPARE = 700, 2.0
"""So many points are sifted at most, and so many times as many as should be needed: more than a filter's share of all
points may hold for the nearest ones, or less."""


def search(
    shard: edge.EdgeShard,
    vector: bytes,
    limit: int,
    threshold: float | None,
    where: dict[str, Any],
    with_vectors: bool,
) -> list[Any]:
    """Id, score, payload and vector (or None) of the nearest, as `rank` orders them."""
    best = _best(shard, vector, limit, threshold, where)
    records = shard.retrieve([UUID(bytes=one) for _, one in best], True, with_vectors)
    read = {record[0]: record for record in map(record_on_wire, records)}
    return [[one, -score, *read[one][1:]] for score, one in best]


def rank(
    shard: edge.EdgeShard, vector: bytes, limit: int, threshold: float | None, where: dict[str, Any]
) -> tuple[bytes, bytes]:
    """Ids and float32 scores of the nearest, best first, ties by id, those at the limit too."""
    best = _best(shard, vector, limit, threshold, where)
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


def _best(
    shard: edge.EdgeShard, vector: bytes, limit: int, threshold: float | None, where: dict[str, Any]
) -> list[tuple[float, bytes]]:
    """Scores, negated, and ids, in order."""
    query, condition = edge.Query.Nearest(floats(vector)), edge_filter(where, shard)
    asked = limit + 1
    while True:
        hits = _nearest(shard, query, asked, threshold, condition)
        if len(hits) < asked or hits[limit - 1].score != hits[-1].score:
            break
        asked *= TIED
    return sorted((-hit.score, id_bytes(hit.id)) for hit in hits)[:limit]


def _nearest(
    shard: edge.EdgeShard, query: edge.Query, limit: int, threshold: float | None, condition: edge.Filter | None
) -> list[edge.ScoredPoint]:
    """The nearest, best first; which of those that tie for the last place are there is chance."""
    if condition is not None:
        sifted = _sifted(shard, query, limit, threshold, condition)
        if sifted is not None:
            return sifted
    return shard.query(
        edge.QueryRequest(
            limit=limit, query=query, filter=condition, score_threshold=threshold, params=search_params(limit)
        )
    )


def _sifted(
    shard: edge.EdgeShard, query: edge.Query, limit: int, threshold: float | None, condition: edge.Filter
) -> list[edge.ScoredPoint] | None:
    """The nearest of all points, as far as the condition holds for them; None where these are too few.

    Edge looks at a condition for every point that it might score, scattered over memory, and at each part of it: over
    100,000 points that takes up to ten times as long as to score them all. Where the condition holds for many, it also
    holds for enough of a few hundred that are nearest.
    """
    holds_for = shard.count(edge.CountRequest(exact=False, filter=condition))
    points = shard.info().points_count
    if holds_for * MOST_SIFTED < limit * SPARE * points:
        return None
    asked = math.ceil(limit * SPARE * points / max(1, holds_for))
    found = shard.query(
        edge.QueryRequest(limit=asked, query=query, score_threshold=threshold, params=search_params(asked))
    )
    among = edge.Filter(must=[edge.HasIdCondition({hit.id for hit in found}), condition])
    hits = shard.query(
        edge.QueryRequest(limit=limit, query=query, filter=among, score_threshold=threshold, params=EXACT)
    )
    if len(found) < asked:
        return hits
    # Beyond the last that was found lies what was not asked for, and may tie with it.
    return hits if len(hits) == limit and hits[-1].score > found[-1].score else None
