"""Between our values and the messages to the Edge process (see `stores.edge_frames`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np

from schemas.collection import PointPayload, Status
from stores.edge_derived import kept, written
from stores.edge_frames import unpack_value
from stores.filters import AllOf, AnyOf, Between, Bound, Filter, KeyPrefix, KeywordField, Match, Not, Tagged
from stores.points import tags_payload
from stores.vectors import Hit, NewTags, Ranked, StoredPoint, Vectors, Where


def where_on_wire(where: Where, *, of_vectors: bool = False) -> dict[str, Any]:
    """The conditions that are set, as MessagePack can carry them.

    `of_vectors`: for a search, which finds points with a vector only: those are the indexed ones, and to say so would
    cost as much again as the search.
    """
    conditions = where.conditions()
    if of_vectors and where.status is Status.INDEXED:
        conditions = tuple(one for one in conditions if one != Match(KeywordField.STATUS, Status.INDEXED.value))
    wire: dict[str, Any] = {}
    if conditions:
        wire["filter"] = [filter_on_wire(one) for one in conditions]
    if where.without:
        wire["without"] = [one.bytes for one in where.without]
    return wire


def filter_on_wire(condition: Filter) -> list[Any]:
    """A filter as nested lists, each begun by what it is (see `stores.edge_filters`)."""
    match condition:
        case AllOf(parts):
            return ["all", [filter_on_wire(part) for part in parts]]
        case AnyOf(parts):
            return ["any", [filter_on_wire(part) for part in parts]]
        case Not(part):
            return ["not", filter_on_wire(part)]
        case Match(field, value):
            return ["match", field.value, value]
        case Between(field, None, None):
            return ["has", field.value]
        case Between(field, at_least, below):
            return ["moments" if field.is_date else "numbers", field.value, _bound(at_least), _bound(below)]
        case Tagged(tag, least):
            return ["tag", tag, least]
        case KeyPrefix(prefix):
            return ["prefix", prefix]


def stored_point(record: tuple[bytes, dict[str, Any], bytes | None]) -> StoredPoint:
    """A record as the process answers it: id, payload and vector."""
    id_bytes, payload, vector = record
    return StoredPoint(
        UUID(bytes=id_bytes),
        PointPayload.model_validate(written(payload)),
        None if vector is None else np.frombuffer(vector, dtype=np.float32),
    )


@dataclass(frozen=True)
class PackedHit:
    """A search result that nobody has looked into yet."""

    ranked: Ranked
    record: bytes

    def hit(self) -> Hit:
        """The result itself."""
        point = stored_point(unpack_value(self.record))
        return Hit(point.id, self.ranked.score, point.payload, point.vector)


@dataclass(frozen=True)
class PackedCounts:
    """Values of a field, most frequent first, and as uint32 how many points have each; there may be 100,000."""

    values: Sequence[str]
    counts: bytes

    def pairs(self) -> list[tuple[str, int]]:
        """Each value with its count."""
        return list(zip(self.values, np.frombuffer(self.counts, dtype=np.uint32).tolist(), strict=True))


def payload_on_wire(payload: PointPayload) -> dict[str, Any]:
    """A payload as Edge keeps it."""
    return kept(payload.as_json())


def tags_on_wire(news: NewTags) -> tuple[bytes, int, dict[str, Any]]:
    """Id, version, and the fields of the payload that change."""
    return news.id.bytes, news.version, kept(tags_payload(news))


def vectors_of(rows: Sequence[bytes], dimension: int) -> Vectors:
    """Vectors as one array of shape (n, dimension)."""
    return np.frombuffer(b"".join(rows), dtype=np.float32).reshape(-1, dimension)


def ranked(ids: bytes, scores: bytes, least: float) -> list[Ranked]:
    """Points with their scores, best first, none below the least, from ids and float32 scores one after the other."""
    return [
        Ranked(UUID(bytes=ids[16 * n : 16 * n + 16]), score)
        for n, score in enumerate(np.frombuffer(scores, dtype=np.float32).tolist())
        if score >= least
    ]


def _bound(bound: Bound | None) -> str | float | None:
    return bound.astimezone(UTC).isoformat() if isinstance(bound, datetime) else bound
