"""Pages in the order of a field's values, ties in that of ids, from an engine that has no order among ties.

A page ends at a place: a value, and the first id of the next page among the points of that value. So a cursor stays
small however many points share a value, and no write of other points moves it.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from stores.cursor import cursor_at, next_id_of
from stores.filters import AllOf, Between, Bound, Filter, RangeField
from stores.vectors import Page, StoredPoint, Where

CHUNK = 1000
"""Points asked for in one go."""

_TICK = timedelta(microseconds=1)

Ordered = Callable[[RangeField, Where, bool, int], Awaitable[Sequence[StoredPoint]]]
"""Points that have the field, in the order of its values (descending?), ties anyhow; at most so many."""


class Scroll(Protocol):
    """Pages in the order of ids, as `VectorIndex.scroll` answers them."""

    async def __call__(self, where: Where, *, limit: int, cursor: str | None) -> Page:
        """A page."""
        ...


@dataclass(frozen=True)
class ValueOrder:
    """The order of one field in one direction, over what an engine can do."""

    field: RangeField
    descending: bool
    ordered: Ordered
    scroll: Scroll

    async def page(self, where: Where, limit: int, cursor: str | None) -> Page:
        """A page of the points that have the field. Raises `ValueError` for a cursor that is none of this order."""
        place = self._place(cursor)
        points: list[StoredPoint] = []
        rest = where
        while True:
            if place is not None:
                value, first = place
                if len(points) == limit:
                    return Page(points, self._cursor(value, first))
                tied = _and(where, self._at(value))
                page = await self.scroll(tied, limit=limit - len(points), cursor=cursor_at(first))
                points += page.points
                if page.cursor is not None:
                    return Page(points, self._cursor(value, next_id_of(page.cursor)))
                rest = _and(where, self._beyond(value))
            # One more than there is room for, so that the last page is known to be the last.
            found = await self.ordered(self.field, rest, self.descending, min(limit - len(points) + 1, CHUNK))
            if not found:
                return Page(points, None)
            # Of the last value there may be more, and those with lower ids come first.
            last = self._value(found[-1])
            before = sorted((one for one in found if self._value(one) != last), key=lambda one: one.id)
            points += sorted(before, key=self._value, reverse=self.descending)
            place = last, None

    def _value(self, point: StoredPoint) -> Any:
        return getattr(point.payload, self.field.value)

    def _at(self, value: Bound) -> Between:
        return Between(self.field, value, self._after(value))

    def _beyond(self, value: Bound) -> Between:
        if self.descending:
            return Between(self.field, None, value)
        return Between(self.field, self._after(value), None)

    @staticmethod
    def _after(value: Bound) -> Bound:
        return value + _TICK if isinstance(value, datetime) else value + 1

    def _cursor(self, value: Bound, first: UUID | None) -> str:
        written = value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
        place = [self.field.value, self.descending, written, first.hex if first else None]
        text = json.dumps(place, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(zlib.crc32(text).to_bytes(4, "big") + text).decode().rstrip("=")

    def _place(self, cursor: str | None) -> tuple[Bound, UUID | None] | None:
        if cursor is None:
            return None
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            if zlib.crc32(raw[4:]).to_bytes(4, "big") != raw[:4]:
                raise ValueError
            field, descending, value, first = json.loads(raw[4:])
            if (field, descending) != (self.field.value, self.descending):
                raise ValueError
            bound = datetime.fromisoformat(value) if self.field.is_date else value
            self._at(bound)
            return bound, UUID(hex=first) if first else None
        except (binascii.Error, ValueError, TypeError):
            raise ValueError(
                f"{cursor[:40]!r} is no cursor of a listing by {self.field} in this direction; use one that a page "
                "of it answered, or none"
            ) from None


def _and(where: Where, condition: Filter) -> Where:
    return replace(where, filter=condition if where.filter is None else AllOf((where.filter, condition)))


async def extremes(field: RangeField, where: Where, ordered: Ordered) -> tuple[Bound, Bound] | None:
    """The least and the greatest value of a field among the points that match; None where none has it."""
    first = await ordered(field, where, False, 1)
    last = await ordered(field, where, True, 1)
    if not first or not last:
        return None
    return getattr(first[0].payload, field.value), getattr(last[0].payload, field.value)
