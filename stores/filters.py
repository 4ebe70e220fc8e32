"""What points may be asked for: conditions that nest under AND, OR and NOT, as plain values.

A condition on a field holds only for points that have the field; its negation holds for those that have none, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias


class KeywordField(StrEnum):
    """Fields that are compared letter for letter, and counted by value; the value is the path in the payload."""

    STATUS = "status"
    SOURCE = "source"
    BUCKET = "bucket"
    CAMERA = "camera"
    FORMAT = "format"
    TAG = "tags[].tag"
    REASON = "reason"
    SHA256 = "sha256"
    TAGS_VERSION = "tags_version"


class RangeField(StrEnum):
    """Fields that have an order; the value is the path in the payload."""

    TAKEN_AT = "taken_at"
    UPLOADED_AT = "uploaded_at"
    INDEXED_AT = "indexed_at"
    SIZE = "size"
    WIDTH = "width"
    HEIGHT = "height"

    @property
    def is_date(self) -> bool:
        """Whether its values are moments; else they are whole numbers."""
        return self in (RangeField.TAKEN_AT, RangeField.UPLOADED_AT, RangeField.INDEXED_AT)


_FARTHEST = 2**53
"""Indexes compare numbers in float64."""

Bound: TypeAlias = datetime | float
"""An aware moment for a date, a number for the rest (bytes, pixels)."""


@dataclass(frozen=True)
class AllOf:
    """Every part holds; without parts it holds for every point."""

    parts: tuple["Filter", ...] = ()


@dataclass(frozen=True)
class AnyOf:
    """At least one part holds; without parts it holds for no point."""

    parts: tuple["Filter", ...] = ()


@dataclass(frozen=True)
class Not:
    """The part does not hold."""

    part: "Filter"


@dataclass(frozen=True)
class Match:
    """The field has this value, letter for letter; of `TAG`, one of the tags is this."""

    field: KeywordField
    value: str


@dataclass(frozen=True)
class Between:
    """The field is `at_least` this and `below` that; without bounds: the point has the field.

    Raises `ValueError` for a moment without a zone, for a number beyond 2^53, and for one where a moment belongs.
    """

    field: RangeField
    at_least: Bound | None = None
    below: Bound | None = None

    def __post_init__(self) -> None:
        for bound in (self.at_least, self.below):
            if bound is None:
                continue
            if isinstance(bound, datetime) is not self.field.is_date:
                kind = "moments" if self.field.is_date else "numbers"
                raise ValueError(f"{self.field} is compared with {kind}, and {bound!r} is none")
            if isinstance(bound, datetime):
                if bound.tzinfo is None:
                    raise ValueError(f"{bound} has no zone; give {self.field} an aware moment")
            elif not -_FARTHEST <= bound <= _FARTHEST:
                raise ValueError(f"{self.field} is bounded by a number of at most 2^53, or by none")


@dataclass(frozen=True)
class Tagged:
    """The point has the tag, letter for letter, with a score of at least `least` where that is given."""

    tag: str
    least: float | None = None


@dataclass(frozen=True)
class KeyPrefix:
    """The object's key begins with these characters."""

    prefix: str


Filter: TypeAlias = AllOf | AnyOf | Not | Match | Between | Tagged | KeyPrefix


def leaves(root: Filter) -> Iterator[Match | Between | Tagged | KeyPrefix]:
    """The conditions of a filter, from left to right."""
    if isinstance(root, AllOf | AnyOf):
        for part in root.parts:
            yield from leaves(part)
    elif isinstance(root, Not):
        yield from leaves(root.part)
    else:
        yield root
