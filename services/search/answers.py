"""What the API answers. The models describe the answers in /docs; the answers themselves are written by hand,
in one pass through pydantic's serializer, since a page may hold a thousand of them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic_core import to_json

from schemas.collection import PointPayload
from services.search.ranking.query import Found
from stores.vectors import Page, StoredPoint

_EXAMPLE_PAYLOAD: JsonDict = {
    "source": "s3",
    "bucket": "images",
    "key": "holiday/2024/beach.jpg",
    "status": "indexed",
    "version": 1715783400000,
    "model": "ViT-B-32",
    "fingerprint": "3f2a9c-81d0b7-bf16",
    "indexed_at": "2024-05-15T14:30:02Z",
    "etag": "9b2cf535f27731c974343645a3985328",
    "size": 2481934,
    "content_type": "image/jpeg",
    "uploaded_at": "2024-05-15T14:30:00Z",
    "width": 4032,
    "height": 3024,
    "format": "jpeg",
    "taken_at": "2024-05-11T16:03:20Z",
    "camera": "Canon EOS R6",
    "orientation": 6,
    "tags": [{"tag": "beach", "score": 0.8945}, {"tag": "landscape", "score": 0.0731}],
    "tags_version": "6f0a5d5e9a521f5a",
}
_EXAMPLE_ID = "5d3bb3a4-6f0a-5d5e-9a52-1f5a3c0f1b52"


class Result(BaseModel):
    """An image that was found. `score` is the cosine similarity."""

    id: UUID
    bucket: str
    key: str
    score: float
    relevance: float | None = Field(
        description="From 0, as any image would fit, to 1; null where there are too few images to tell."
    )
    payload: PointPayload
    duplicates: int = Field(description="How many near-duplicates of it are not answered beside it.")


class SearchAnswer(BaseModel):
    """A page of results, in the order that was asked for. `next_cursor` is null on the last page."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "results": [
                    {
                        "id": _EXAMPLE_ID,
                        "bucket": "images",
                        "key": "holiday/2024/beach.jpg",
                        "score": 0.8127,
                        "relevance": 0.94,
                        "payload": _EXAMPLE_PAYLOAD,
                        "duplicates": 2,
                    }
                ],
                "next_cursor": "kV3vQ0mWm2oAFHM_6pL5gAAAAF07s6RvCl1emlIfWjwPG1JQ0dE",
                "took_ms": 11.4,
                "steps_ms": {"embed": 5.1, "search": 4.9, "payload": 0.8},
            }
        }
    )

    results: list[Result]
    next_cursor: str | None
    took_ms: float = Field(description="Milliseconds from the request's arrival to the answer, embedding included.")
    steps_ms: dict[str, float] = Field(
        description="The milliseconds of each step: embed the query, search, read what is known of the results."
    )


class ImageAnswer(BaseModel):
    """One image; `vector` only where it was asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": _EXAMPLE_ID,
                "bucket": "images",
                "key": "holiday/2024/beach.jpg",
                "etag": "9b2cf535f27731c974343645a3985328",
                "version": 1715783400000,
                "payload": _EXAMPLE_PAYLOAD,
            }
        }
    )

    id: UUID
    bucket: str
    key: str
    etag: str | None
    version: int
    payload: PointPayload
    vector: list[float] | None = None


class ImagesAnswer(BaseModel):
    """A page of images. `next_cursor` is null on the last page."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "images": [
                    {
                        "id": _EXAMPLE_ID,
                        "bucket": "images",
                        "key": "holiday/2024/beach.jpg",
                        "etag": "9b2cf535f27731c974343645a3985328",
                        "version": 1715783400000,
                        "payload": _EXAMPLE_PAYLOAD,
                    }
                ],
                "next_cursor": "5d3bb3a4-6f0a-5d5e-9a52-1f5a3c0f1b53",
            }
        }
    )

    images: list[ImageAnswer]
    next_cursor: str | None


class TagCount(BaseModel):
    """How many images have a tag."""

    tag: str
    count: int


class TagsAnswer(BaseModel):
    """Tags, the most frequent first. `images` is how many images match, tagged or not."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "tags": [{"tag": "beach", "count": 1204}, {"tag": "people", "count": 873}],
                "images": 9120,
            }
        }
    )

    tags: list[TagCount]
    images: int


class ValueCount(BaseModel):
    """How many images have a value."""

    value: str
    count: int


class FacetsAnswer(BaseModel):
    """The values of a field, the most frequent first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "field": "camera",
                "values": [{"value": "Canon EOS R6", "count": 5210}, {"value": "Pixel 8", "count": 1180}],
            }
        }
    )

    field: str
    values: list[ValueCount]


class IntervalCount(BaseModel):
    """How many images have their date in an interval, `from` inclusive and `to` exclusive."""

    model_config = ConfigDict(populate_by_name=True)

    start: datetime = Field(alias="from")
    end: datetime = Field(alias="to")
    count: int


class StatisticsAnswer(BaseModel):
    """Counts per interval, the earliest first and without gaps, or per value, the most frequent first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "per": "month",
                "date": "taken",
                "rows": [
                    {"from": "2024-04-01T00:00:00Z", "to": "2024-05-01T00:00:00Z", "count": 310},
                    {"from": "2024-05-01T00:00:00Z", "to": "2024-06-01T00:00:00Z", "count": 274},
                ],
            }
        }
    )

    per: str
    date: str | None = Field(description="Which date was counted by; null per bucket and per camera.")
    rows: list[IntervalCount | ValueCount]


class StatusAnswer(BaseModel):
    """What runs here, since when, with which model, and how much is indexed, rejected, gone and waiting."""

    model_config = ConfigDict(extra="allow")

    release: str
    runs: list[str] = Field(description="The services in this process.")
    since: datetime = Field(description="When the process started.")
    model: str
    fingerprint: str
    device: str
    indexed: int
    rejected: int
    gone: int
    waiting: int | None = Field(description="Records on their way that are not yet searchable; null where unknown.")


class ProblemAnswer(BaseModel):
    """An error (RFC 9457). `errors` names the fields where there are such."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "urn:sightline:problem:bad-parameter",
                "title": "Bad parameter",
                "status": 422,
                "detail": "limit: input should be less than or equal to 1000 (it is '5000')",
                "remedy": "Correct what `errors` names; /docs lists every parameter with an example.",
                "errors": [{"field": "limit", "problem": "input should be less than or equal to 1000 (it is '5000')"}],
            }
        },
    )

    type: str
    title: str
    status: int
    detail: str
    remedy: str


def json_bytes(body: Mapping[str, Any]) -> bytes:
    """A JSON answer. Floats are written with the fewest digits that read back exactly.

    Of a model, such as a payload, fields that are None are left out; what is None in a mapping is null.
    """
    return to_json(body, exclude_none=True)


def json_response(body: Mapping[str, Any]) -> Response:
    """A JSON answer, see `json_bytes`."""
    return Response(json_bytes(body), media_type="application/json")


def results_json(results: Sequence[Found]) -> list[dict[str, Any]]:
    """Search results, for `json_bytes`."""
    return [
        {
            "id": str(one.id),
            "bucket": one.payload.bucket,
            "key": one.payload.key,
            "score": float(one.score),
            "relevance": one.relevance,
            "payload": one.payload,
            "duplicates": one.duplicates,
        }
        for one in results
    ]


def image_json(point: StoredPoint) -> dict[str, Any]:
    """One image, for `json_bytes`, with its vector where it was read."""
    image: dict[str, Any] = {
        "id": str(point.id),
        "bucket": point.payload.bucket,
        "key": point.payload.key,
        "etag": point.payload.etag,
        "version": point.payload.version,
        "payload": point.payload,
    }
    if point.vector is not None:
        image["vector"] = point.vector.tolist()
    return image


def page_json(page: Page) -> dict[str, Any]:
    """A page of images, for `json_bytes`."""
    return {"images": [image_json(point) for point in page.points], "next_cursor": page.cursor}
