"""Filters as qdrant-client's models."""

from datetime import UTC, datetime

from qdrant_client import models

from stores.filters import AllOf, AnyOf, Between, Filter, KeyPrefix, Match, Not, Tagged
from stores.vectors import Where


def qdrant_filter(where: Where) -> models.Filter:
    """The conditions as a filter; an empty one holds for every point."""
    without: list[models.Condition] = []
    if where.without:
        without.append(models.HasIdCondition(has_id=[str(one) for one in where.without]))
    must = [_condition(one) for one in where.conditions()]
    return models.Filter(must=must or None, must_not=without or None)


def _condition(condition: Filter) -> models.Condition:
    match condition:
        case AllOf(parts):
            return models.Filter(must=[_condition(part) for part in parts])
        case AnyOf(()):
            # Without a part it would hold for every point.
            return models.HasIdCondition(has_id=[])
        case AnyOf(parts):
            return models.Filter(should=[_condition(part) for part in parts])
        case Not(part):
            return models.Filter(must_not=[_condition(part)])
        case Match(field, value):
            return models.FieldCondition(key=field.value, match=models.MatchValue(value=value))
        case Between(field, None, None):
            return models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=field.value))])
        case Between():
            return models.FieldCondition(key=condition.field.value, range=_range(condition))
        case Tagged(tag, None):
            return models.FieldCondition(key="tags[].tag", match=models.MatchValue(value=tag))
        case Tagged(tag, least):
            return _surely_tagged(tag, least)
        case KeyPrefix(""):
            return models.Filter()
        case KeyPrefix(prefix):
            return models.FieldCondition(key="key", match=models.MatchPrefix(prefix=prefix))


def _range(between: Between) -> models.RangeInterface:
    bounds = [one.astimezone(UTC) if isinstance(one, datetime) else one for one in (between.at_least, between.below)]
    if between.field.is_date:
        return models.DatetimeRange(gte=bounds[0], lt=bounds[1])
    return models.Range(gte=bounds[0], lt=bounds[1])


def _surely_tagged(tag: str, least: float | None) -> models.Condition:
    # Both of one element: what is surely a dog and hardly a cat is no sure cat. The tag beside it is in an index.
    of_one = models.Filter(
        must=[
            models.FieldCondition(key="tag", match=models.MatchValue(value=tag)),
            models.FieldCondition(key="score", range=models.Range(gte=least)),
        ]
    )
    return models.Filter(
        must=[
            models.FieldCondition(key="tags[].tag", match=models.MatchValue(value=tag)),
            models.NestedCondition(nested=models.Nested(key="tags", filter=of_one)),
        ]
    )
