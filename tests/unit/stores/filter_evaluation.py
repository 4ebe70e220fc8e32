"""What a filter means, in plain Python over payloads: the reference that every index is compared with."""

from datetime import datetime
from uuid import UUID

from schemas.collection import PointPayload
from stores.filters import AllOf, AnyOf, Between, Filter, KeyPrefix, KeywordField, Match, Not, RangeField, Tagged
from stores.vectors import Where


def values_of(payload: PointPayload, field: KeywordField) -> list[str]:
    """The values of a field, none where it is missing."""
    if field is KeywordField.TAG:
        return [one.tag for one in payload.tags]
    value = getattr(payload, field.value)
    return [] if value is None else [str(value)]


def value_of(payload: PointPayload, field: RangeField) -> datetime | float | None:
    """The value of a field that has an order."""
    value: datetime | float | None = getattr(payload, field.value)
    return value


def holds(condition: Filter, payload: PointPayload) -> bool:
    """Whether a point with this payload is one of those that the filter asks for."""
    match condition:
        case AllOf(parts):
            return all(holds(part, payload) for part in parts)
        case AnyOf(parts):
            return any(holds(part, payload) for part in parts)
        case Not(part):
            return not holds(part, payload)
        case Match(field, value):
            return value in values_of(payload, field)
        case Between(field, at_least, below):
            found = value_of(payload, field)
            return (
                found is not None
                and (at_least is None or found >= at_least)  # type: ignore[operator]
                and (below is None or found < below)  # type: ignore[operator]
            )
        case Tagged(tag, least):
            return any(one.tag == tag and (least is None or one.score >= least) for one in payload.tags)
        case KeyPrefix(prefix):
            return payload.key.startswith(prefix)


def matches(where: Where, point_id: UUID, payload: PointPayload) -> bool:
    """Whether a point is one of those that `where` asks for."""
    conditions: list[Filter] = [
        Match(field, value)
        for field, value in (
            (KeywordField.STATUS, where.status.value if where.status else None),
            (KeywordField.SOURCE, where.source),
            (KeywordField.BUCKET, where.bucket),
        )
        if value is not None
    ]
    conditions.append(KeyPrefix(where.prefix or ""))
    for field, after, before in (
        (RangeField.TAKEN_AT, where.taken_after, where.taken_before),
        (RangeField.UPLOADED_AT, where.uploaded_after, where.uploaded_before),
    ):
        if after is not None or before is not None:
            conditions.append(Between(field, after, before))
    if where.tag is not None:
        conditions.append(Tagged(where.tag, where.tag_score))
    if where.tags_not_of is not None:
        conditions.append(Not(Match(KeywordField.TAGS_VERSION, where.tags_not_of)))
    if where.filter is not None:
        conditions.append(where.filter)
    return point_id not in where.without and holds(AllOf(tuple(conditions)), payload)
