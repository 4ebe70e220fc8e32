"""`/v1/tags`, `/v1/facets`, `/v1/statistics`: how many images there are of what."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from schemas.collection import Status
from services.search.answers import FacetsAnswer, StatisticsAnswer, TagsAnswer, json_response
from services.search.filters.options import MAX_LIMIT, Filters, each_once
from services.search.limits import STATISTICS_ROWS
from services.search.listing.statistics import Interval, IntervalRow, Statistics
from stores.filters import KeywordField, RangeField
from stores.vectors import FacetCount


class FacetField(StrEnum):
    """Fields that are counted by value."""

    BUCKET = "bucket"
    CAMERA = "camera"
    FORMAT = "format"
    TAG = "tag"
    REASON = "reason"
    STATUS = "status"

    @property
    def field(self) -> KeywordField:
        """The field of the index."""
        return KeywordField[self.name]

    @property
    def status(self) -> Status | None:
        """The status of the images that are counted: reasons are of rejected ones, statuses of all."""
        return {FacetField.REASON: Status.REJECTED, FacetField.STATUS: None}.get(self, Status.INDEXED)


class Per(StrEnum):
    """What statistics count by."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"
    BUCKET = "bucket"
    CAMERA = "camera"


class DateChoice(StrEnum):
    """Which date is counted by."""

    TAKEN = "taken"
    UPLOADED = "uploaded"

    @property
    def field(self) -> RangeField:
        """The field of the index."""
        return RangeField.TAKEN_AT if self is DateChoice.TAKEN else RangeField.UPLOADED_AT


class TagOptions(Filters):
    """Which tags are counted."""

    limit: int = Field(100, ge=1, le=MAX_LIMIT, description="At most so many tags.")


class FacetOptions(Filters):
    """Which values are counted."""

    field: FacetField = Field(
        description="What to count by. Reasons are counted over rejected images, statuses over all images, the rest "
        "over indexed ones.",
        examples=["camera"],
    )
    limit: int = Field(100, ge=1, le=MAX_LIMIT, description="At most so many values.")


class StatisticsOptions(Filters):
    """What is counted by."""

    per: Per = Field(Per.MONTH, description=f"One row for each; at most {STATISTICS_ROWS} rows.")
    date: DateChoice = Field(
        DateChoice.TAKEN, description="Of a day, month or year: by which date, in UTC. Images without it do not count."
    )


def facet_router(statistics: Statistics) -> APIRouter:
    """The routes of counts."""
    router = APIRouter(prefix="/v1", tags=["counts"], dependencies=[Depends(each_once)])

    @router.get("/tags", summary="Tags with their numbers of images", response_model=TagsAnswer)
    async def tags(options: Annotated[TagOptions, Query()]) -> Response:
        """The tags of the indexed images that match, the most frequent first, and how many images match."""
        counted = await statistics.values(KeywordField.TAG, options, limit=options.limit)
        images = await statistics.images(options)
        return json_response({"tags": [{"tag": one.value, "count": one.count} for one in counted], "images": images})

    @router.get("/facets", summary="Values of a field with their numbers of images", response_model=FacetsAnswer)
    async def facets(options: Annotated[FacetOptions, Query()]) -> Response:
        """The values of a field among the images that match, the most frequent first."""
        chosen = options.field
        counted = await statistics.values(chosen.field, options, limit=options.limit, status=chosen.status)
        return json_response({"field": chosen.value, "values": _values_json(counted)})

    @router.get(
        "/statistics",
        summary="Images per day, month, year, bucket or camera",
        response_model=StatisticsAnswer,
    )
    async def count(options: Annotated[StatisticsOptions, Query()]) -> Response:
        """How many indexed images match, in rows.

        Per day, month and year: a row for each from the first image to the last, also where there is none, the
        earliest first. Per bucket and camera: the most frequent first.
        """
        if options.per in (Per.BUCKET, Per.CAMERA):
            field = FacetField(options.per.value).field
            counted = await statistics.values(field, options, limit=STATISTICS_ROWS)
            return json_response({"per": options.per.value, "date": None, "rows": _values_json(counted)})
        rows = await statistics.intervals(options.date.field, Interval(options.per.value), options)
        return json_response(
            {"per": options.per.value, "date": options.date.value, "rows": [_interval_json(row) for row in rows]}
        )

    return router


def _values_json(counted: Sequence[FacetCount]) -> list[dict[str, object]]:
    return [{"value": one.value, "count": one.count} for one in counted]


def _interval_json(row: IntervalRow) -> dict[str, object]:
    return {"from": row.start, "to": row.end, "count": row.count}
