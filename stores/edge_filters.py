"""Filters for Qdrant Edge, from what came over the wire. Imported by the Edge process only.

Edge takes the condition that holds for the fewest points, walks through these in the index of that field, and looks
at the other conditions of each. Where that is the best of several broad conditions, points come in the order of that
field, scattered over memory: measured over 100,000 points, a range of 80 % took 35 ms beside another condition, and
16 ms where it was looked at only. So a broad condition is written as a double negation, which Edge never walks.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from stores.edge_derived import (
    KEY_STARTS,
    TAG_CODES,
    TAG_NUMBERS,
    asked_codes,
    asked_start,
    tag_number,
    tags_of,
)

TAG = "tags[].tag"
"""The field of tags' names, as it is asked for; here their numbers stand for it."""
READ_AT_ONCE = 1000
"""Points read in one go."""
BROAD = 8
"""A condition that holds for more than one in so many points is broad."""


def edge_filter(where: dict[str, Any], shard: edge.EdgeShard, *, searched: bool = False) -> edge.Filter | None:
    """The conditions of a request as a filter of this shard as it is now; None holds for every point.

    `searched`: for a search or a count by value, where it matters which conditions are broad.
    """
    must: list[Any] = []
    must_not: list[Any] = []
    for condition in (_condition(wire, shard) for wire in _flat(where.get("filter", ()))):
        if searched and _is_broad(condition, shard):
            must_not.append(edge.Filter(must_not=[condition]))
        else:
            must.append(condition)
    without: set[edge.PointId] = {UUID(bytes=one) for one in where.get("without", ())}
    if without:
        must_not.append(edge.HasIdCondition(without))
    return edge.Filter(must=must or None, must_not=must_not or None) if must or must_not else None


def parts_of(where: dict[str, Any]) -> int:
    """How many conditions there are for a point to be looked at with, more or less."""
    return sum(map(_parts, where.get("filter", ()))) + bool(where.get("without"))


def _parts(wire: Sequence[Any]) -> int:
    kind, *rest = wire
    match kind:
        case "all" | "any":
            return sum(map(_parts, rest[0]))
        case "not":
            return _parts(rest[0])
        case "tag":
            # With a score: the codes that are sure, the points that are not, and either of the two.
            return 1 if rest[1] is None else 3
    return 1


def _flat(wires: Iterable[Sequence[Any]]) -> Iterable[Sequence[Any]]:
    for wire in wires:
        if wire[0] == "all":
            yield from _flat(wire[1])
        else:
            yield wire


def _is_broad(condition: Any, shard: edge.EdgeShard) -> bool:
    if isinstance(condition, edge.FieldCondition) and isinstance(condition.match, edge.MatchValue):
        # Points of one value are listed in the order in which they lie in memory.
        return False
    estimate = shard.count(edge.CountRequest(exact=False, filter=edge.Filter(must=[condition])))
    return estimate * BROAD > shard.info().points_count


def _condition(wire: Sequence[Any], shard: edge.EdgeShard) -> Any:
    kind, *rest = wire
    match kind:
        case "all":
            return edge.Filter(must=[_condition(one, shard) for one in rest[0]])
        case "any":
            # Without a part it would hold for every point.
            parts = [_condition(one, shard) for one in rest[0]]
            return edge.Filter(should=parts) if parts else edge.HasIdCondition(set())
        case "not":
            return edge.Filter(must_not=[_condition(rest[0], shard)])
        case "match":
            return _match(*rest)
        case "moments":
            name, at_least, below = rest
            return edge.FieldCondition(name, range=edge.RangeDateTime(gte=at_least, lt=below))
        case "numbers":
            name, at_least, below = rest
            return edge.FieldCondition(name, range=edge.RangeFloat(gte=at_least, lt=below))
        case "has":
            return edge.Filter(must_not=[edge.IsEmptyCondition(rest[0])])
        case "tag":
            return _tagged(shard, *rest)
        case "prefix":
            return _key_prefix(*rest)
    raise ValueError(f"{kind!r} is no condition")


def _match(name: str, value: str) -> Any:
    if name == TAG:
        return edge.FieldCondition(TAG_NUMBERS, match=edge.MatchValue(tag_number(value)))
    return edge.FieldCondition(name, match=edge.MatchValue(value))


def _tagged(shard: edge.EdgeShard, tag: str, least: float | None) -> Any:
    if least is None:
        return _match(TAG, tag)
    perhaps, sure, end = asked_codes(tag, least)
    parts = [_codes(sure, end)] if sure < end else []
    if perhaps < sure:
        parts.append(edge.HasIdCondition(_of_at_least(shard, tag, least, _codes(perhaps, sure))))
    # Without a part it would hold for every point.
    return edge.Filter(should=parts) if parts else edge.HasIdCondition(set())


def _of_at_least(shard: edge.EdgeShard, tag: str, least: float, doubtful: Any) -> set[UUID | int | str]:
    """The points, of those whose codes leave it open, that have the tag with a score of at least `least`."""
    found: set[UUID | int | str] = set()
    start: Any = None
    while True:
        request = edge.ScrollRequest(
            offset=start, limit=READ_AT_ONCE, filter=edge.Filter(must=[doubtful]), with_payload=["tags"]
        )
        records, start = shard.scroll(request)
        for record in records:
            if any(one["tag"] == tag and one["score"] >= least for one in tags_of(record.payload or {})):
                found.add(record.id)
        if start is None:
            return found


def _codes(first: int, end: int) -> Any:
    return edge.FieldCondition(TAG_CODES, range=edge.RangeFloat(gte=first, lt=end))


def _key_prefix(prefix: str) -> Any:
    if not prefix:
        return edge.Filter()
    number, exact = asked_start(prefix)
    start = edge.FieldCondition(KEY_STARTS, match=edge.MatchValue(number))
    if exact:
        return start
    # Looked at only: to walk the keys with a common beginning takes longer than to compare them.
    return edge.Filter(
        must=[start],
        must_not=[edge.Filter(must_not=[edge.FieldCondition("key", match=edge.MatchPrefix(prefix))])],
    )
