"""How many images there are per value of a field, and per day, month and year."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import cast

from schemas.collection import Status
from services.search.collection import Collection
from services.search.filters.options import Filters
from services.search.limits import STATISTICS_ROWS
from services.search.problems import Problem, ProblemKind
from stores.filters import Between, KeywordField, RangeField
from stores.vectors import FacetCount, VectorIndex


class Interval(StrEnum):
    """What a row of statistics spans, in UTC."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"

    def start(self, moment: datetime) -> datetime:
        """The beginning of the interval that holds a moment."""
        midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self is Interval.DAY:
            return midnight
        return midnight.replace(day=1) if self is Interval.MONTH else midnight.replace(month=1, day=1)

    def next(self, start: datetime) -> datetime:
        """The beginning of the following interval. Raises `OverflowError` after the year 9999."""
        return self.start(start + {"day": timedelta(1), "month": timedelta(31), "year": timedelta(366)}[self.value])


@dataclass(frozen=True)
class IntervalRow:
    """How many images have their date at `start` or later, and before `end`."""

    start: datetime
    end: datetime
    count: int


class Statistics:
    """Counts in one index, exactly. While there is no collection yet there is nothing to count, and that is no error.

    Every method raises `Problem` for a filter that cannot be read, and `DependencyUnavailable`.
    """

    def __init__(self, index: VectorIndex, collection: Collection) -> None:
        self._index = index
        self._collection = collection

    async def images(self, filters: Filters) -> int:
        """How many indexed images match."""
        where = filters.where()
        return await self._index.count(where) if await self._collection.metadata() else 0

    async def values(
        self, field: KeywordField, filters: Filters, *, limit: int, status: Status | None = Status.INDEXED
    ) -> Sequence[FacetCount]:
        """The values of a field among the images that match, the most frequent first, ties by value."""
        where = filters.where(status=status)
        return await self._index.facet(field, where, limit=limit) if await self._collection.metadata() else []

    async def intervals(self, date: RangeField, per: Interval, filters: Filters) -> list[IntervalRow]:
        """A row for each interval from the first to the last image that has the date, those without any included.

        Raises `Problem` 422 for more than `STATISTICS_ROWS` rows.
        """
        where = filters.where()
        ends = await self._index.extremes(date, where) if await self._collection.metadata() else None
        if ends is None:
            return []
        first, last = (cast(datetime, end) for end in ends)  # the field is a date
        starts = _starts(per, first, last)
        rows: list[IntervalRow] = []
        for start, end in pairwise(starts):
            count = await self._index.count(filters.where(Between(date, start, end)))
            rows.append(IntervalRow(start, end, count))
        return rows


def _starts(per: Interval, first: datetime, last: datetime) -> list[datetime]:
    starts = [per.start(first)]
    while starts[-1] <= last:
        if len(starts) > STATISTICS_ROWS:
            raise Problem(
                422,
                ProblemKind.BAD_PARAMETER,
                f"From {first:%Y-%m-%d} to {last:%Y-%m-%d} there are more than {STATISTICS_ROWS} rows, one per {per}.",
                "Ask for longer intervals (per=month, per=year), or for a shorter time with "
                "taken_after and taken_before, or uploaded_after and uploaded_before.",
                errors=[{"field": "per", "problem": f"more than {STATISTICS_ROWS} rows"}],
                first=first.isoformat(),
                last=last.isoformat(),
            )
        starts.append(_next(per, starts[-1]))
    return starts


def _next(per: Interval, start: datetime) -> datetime:
    try:
        return per.next(start)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
