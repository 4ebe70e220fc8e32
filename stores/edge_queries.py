"""What people ask of a shard, in the Edge process: the nearest points, counts by value, points in the order of a field.

Counts by value are asked for as approximate ones: Edge then counts in each segment by itself, in 4 ms where 100,000
points have 4 of 100 tags, while for exact ones it asks every segment for every value (220 ms). The two differ only for
a point that lies in two segments, and here none does: nothing is optimised while the process serves.
"""

import math
from array import array
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from stores.edge_config import CODES, VECTORS, code_error
from stores.edge_conversion import PAYLOAD, floats, id_bytes, record_on_wire
from stores.edge_derived import TAG_NUMBERS
from stores.edge_filters import TAG, edge_filter, parts_of
from stores.edge_frames import pack_value
from stores.edge_tags import TagNames

FACET_SLACK = 1000
FACET_GROWTH = 20
"""Values beyond the limit that are looked at for ties, since Edge has no order among them."""
TIED = 4
"""How many times more points are asked for while points of the same score stand on both sides of the limit."""
CANDIDATES, MOST_SCANNED = (128, 512), 1000
"""At least so many points are scored from their vectors, and where these do not tell, so many; for more results than
the last number, all are: it is as quick."""
MOST_SIFTED, SPARE, FIRST = 1000, 2.0, 1.3
"""So many points are sifted at most; so many times as many as should be needed, since a filter may hold for less of the
nearest than of all; and so many times as many first."""
WALK, EACH, SCAN, SIFT = 0.33, 0.05, 0.033, 6.0
"""Microseconds, of 256 dimensions: for a point that Edge looks at with one condition, and with each further one; for a
code that is scanned; for a candidate that is handed out, and looked at with the conditions."""


def search(
    shard: edge.EdgeShard,
    vector: bytes,
    limit: int,
    threshold: float | None,
    where: dict[str, Any],
    with_vectors: bool,
) -> tuple[bytes, bytes, list[bytes]]:
    """What `rank` answers, and of each id, payload and vector (or None), packed by itself."""
    best = _best(shard, vector, limit, threshold, where)
    records = shard.retrieve([UUID(bytes=one) for _, one in best], PAYLOAD, with_vectors)
    packed = {record[0]: pack_value(record) for record in map(record_on_wire, records)}
    return *_ids_and_scores(best), [packed[one] for _, one in best]


def rank(
    shard: edge.EdgeShard, vector: bytes, limit: int, threshold: float | None, where: dict[str, Any]
) -> tuple[bytes, bytes]:
    """Ids and float32 scores of the nearest, best first, ties by id, those at the limit too."""
    return _ids_and_scores(_best(shard, vector, limit, threshold, where))


def facet(
    shard: edge.EdgeShard, names: TagNames, field: str, where: dict[str, Any], limit: int
) -> tuple[list[str], bytes]:
    """The values of a field, most frequent first, ties by value, and as uint32 how many points have each.

    In two columns, since there may be as many values as points: to unpack pairs takes three times as long.
    """
    asked = limit + FACET_SLACK
    path = TAG_NUMBERS if field == TAG else field
    condition = edge_filter(where, shard, searched=True)
    while True:
        request = edge.FacetRequest(path, asked, exact=False, filter=condition)
        hits = shard.facet(request).hits
        if len(hits) < asked:
            break
        # Each segment named its own most frequent values alone, and one that is seldom in all of them may be missing.
        # Counted as "exact" they would be, one value after the other: that takes five times as long.
        asked *= FACET_GROWTH
    values: Any = (hit.value for hit in hits)
    counts = [
        (-hit.count, value)
        for hit, value in zip(hits, names.of(shard, values) if field == TAG else values, strict=True)
        if hit.count and value is not None
    ]
    best = sorted(counts)[:limit]
    return [value for _, value in best], array("I", [-count for count, _ in best]).tobytes()


def ordered(shard: edge.EdgeShard, field: str, where: dict[str, Any], descending: bool, limit: int) -> list[list[Any]]:
    """Points that have the field, in the order of its values; which ones of the last value are there is chance."""
    direction = edge.Direction.Desc if descending else edge.Direction.Asc
    request = edge.ScrollRequest(
        limit=limit, filter=edge_filter(where, shard), with_payload=PAYLOAD, order_by=edge.OrderBy(field, direction)
    )
    return [record_on_wire(record) for record in shard.scroll(request)[0]]


def _ids_and_scores(best: Sequence[tuple[float, bytes]]) -> tuple[bytes, bytes]:
    return b"".join(one for _, one in best), array("f", (-score for score, _ in best)).tobytes()


def _best(
    shard: edge.EdgeShard, vector: bytes, limit: int, threshold: float | None, where: dict[str, Any]
) -> list[tuple[float, bytes]]:
    """Scores above the threshold, negated, and ids, in order."""
    numbers, condition = floats(vector), edge_filter(where, shard, searched=True)
    parts = parts_of(where)
    least = -math.inf if threshold is None else threshold
    asked = limit + 1
    while True:
        hits = _nearest(shard, numbers, asked, condition, parts)
        if len(hits) < asked or hits[-1].score <= least or hits[limit - 1].score != hits[-1].score:
            break
        asked *= TIED
    return sorted((-hit.score, id_bytes(hit.id)) for hit in hits if hit.score > least)[:limit]


def _nearest(
    shard: edge.EdgeShard, vector: list[float], limit: int, condition: edge.Filter | None, parts: int
) -> list[edge.ScoredPoint]:
    """The nearest, best first; which of those that tie for the last place are there is chance."""
    found = _scanned(shard, vector, limit) if condition is None else _sifted(shard, vector, limit, condition, parts)
    return _query(shard, vector, limit, VECTORS, condition) if found is None else found


def _scanned(shard: edge.EdgeShard, vector: list[float], limit: int) -> list[edge.ScoredPoint] | None:
    """The nearest by their codes; None where these cannot tell."""
    if limit > MOST_SCANNED:
        return None
    for asked in _depths(2 * limit):
        found = _query(shard, vector, asked, CODES)
        if _told(found, asked, found[limit - 1 : limit], vector):
            return found[:limit]
    return None


def _sifted(
    shard: edge.EdgeShard, vector: list[float], limit: int, condition: edge.Filter, parts: int
) -> list[edge.ScoredPoint] | None:
    """The nearest of all points, as far as the condition, which has so many parts, holds for them.

    Edge looks at a condition for every point that it might score, scattered over memory, and at each part of it: over
    100,000 points that takes up to ten times as long as to score them all. Where the condition holds for many, it also
    holds for enough of a few hundred that are nearest. None where Edge's way is the quicker one, or these are too few.
    """
    holds_for, points = _estimate(shard, condition), shard.info().points_count
    if not holds_for:
        return None
    needed = limit * points / holds_for
    walked = holds_for
    if not condition.must:
        # What is broad is not walked: then each point is looked at (see `stores.edge_filters`).
        walked = points
    elif condition.must_not:
        walked = _estimate(shard, edge.Filter(must=condition.must))
    sifted = max(CANDIDATES[0], SPARE * needed)
    if sifted > MOST_SIFTED or walked * (WALK + EACH * (parts - 1)) < points * SCAN + sifted * SIFT:
        return None
    first = math.ceil(FIRST * needed)
    for asked in _depths(math.ceil(SPARE * needed)):
        found = _query(shard, vector, asked, CODES)
        hits = _among(shard, vector, limit, condition, found[:first])
        if len(hits) < limit and first < asked:
            first = MOST_SIFTED
            hits = _among(shard, vector, limit, condition, found)
        if _told(found, asked, hits[limit - 1 : limit], vector):
            return hits
    return None


def _estimate(shard: edge.EdgeShard, condition: edge.Filter) -> int:
    return shard.count(edge.CountRequest(exact=False, filter=condition))


def _among(
    shard: edge.EdgeShard,
    vector: list[float],
    limit: int,
    condition: edge.Filter,
    found: Sequence[edge.ScoredPoint],
) -> list[edge.ScoredPoint]:
    among = edge.Filter(must=[edge.HasIdCondition({hit.id for hit in found}), condition])
    return _query(shard, vector, limit, VECTORS, among)


def _depths(least: int) -> list[int]:
    return sorted({max(least, several) for several in CANDIDATES})


def _told(
    found: Sequence[edge.ScoredPoint], asked: int, last: Sequence[edge.ScoredPoint], vector: Sequence[float]
) -> bool:
    """Whether no point that was not found belongs before the last of an answer, which is empty if too few were found.

    A code that was left out has a lower score than all that were found. Its vector's may be higher than theirs by the
    error of both codes.
    """
    if len(found) < asked:
        return True
    return bool(last) and last[0].score - found[-1].score > 2 * code_error(len(vector))


def _query(
    shard: edge.EdgeShard,
    vector: list[float],
    limit: int,
    params: edge.SearchParams,
    condition: edge.Filter | None = None,
) -> list[edge.ScoredPoint]:
    return shard.query(
        edge.QueryRequest(limit=limit, query=edge.Query.Nearest(vector), filter=condition, params=params)
    )
