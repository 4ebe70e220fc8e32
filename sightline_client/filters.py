"""Which images are meant, combined with `&`, `|` and `~`."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

Value = str | int | float | date | datetime


@dataclass(frozen=True)
class Filter:
    """A filter of the API. Make one with `where`; combine with `&` (all), `|` (any) and `~` (not).

    One without conditions means every image: `&` with it changes nothing, a request leaves it out.
    """

    tree: dict[str, Any]

    def __bool__(self) -> bool:
        """Whether there is any condition."""
        return bool(self.tree)

    def __and__(self, other: "Filter") -> "Filter":
        """Both hold."""
        return _joined("all", self, other) if self and other else self or other

    def __or__(self, other: "Filter") -> "Filter":
        """At least one holds. Raises `ValueError` where one has no conditions: every image is hardly meant then."""
        if not (self and other):
            raise ValueError("a filter without conditions means every image, so `|` with it would too; leave it out")
        return _joined("any", self, other)

    def __invert__(self) -> "Filter":
        """It does not hold. Raises `ValueError` where it has no conditions: no image would be left."""
        if not self:
            raise ValueError(
                "a filter without conditions means every image, so `~` of it would mean none; leave it out"
            )
        return Filter({"not": self.tree})


def where(
    *,
    bucket: str | None = None,
    prefix: str | None = None,
    source: str | None = None,
    tag: str | None = None,
    tag_score: float | None = None,
    camera: str | None = None,
    format: str | None = None,  # noqa: A002 - the word of the API
    taken_after: date | datetime | str | None = None,
    taken_before: date | datetime | str | None = None,
    uploaded_after: date | datetime | str | None = None,
    uploaded_before: date | datetime | str | None = None,
    size_min: int | None = None,
    size_max: int | None = None,
) -> Filter:
    """A filter of which everything given must hold; every image where nothing is given, or None.

    `tag_score` is the least score of `tag`. `after` is inclusive, `before` exclusive, times without a zone are UTC;
    sizes are bytes.
    """
    given: dict[str, Value | None] = {
        "bucket": bucket,
        "prefix": prefix,
        "source": source,
        "tag": tag,
        "tag_score": tag_score,
        "camera": camera,
        "format": format,
        "taken_after": taken_after,
        "taken_before": taken_before,
        "uploaded_after": uploaded_after,
        "uploaded_before": uploaded_before,
        "size_min": size_min,
        "size_max": size_max,
    }
    return Filter({name: _on_wire(value) for name, value in given.items() if value is not None})


def _joined(word: Literal["all", "any"], one: Filter, other: Filter) -> Filter:
    # A chain of one operator stays flat: the service bounds how deep filters nest.
    parts = [part for each in (one, other) for part in (each.tree[word] if set(each.tree) == {word} else [each.tree])]
    return Filter({word: parts})


def _on_wire(value: Value) -> str | int | float:
    return value.isoformat() if isinstance(value, date) else value
