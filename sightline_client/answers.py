"""What the service answers. Fields that a newer service adds are kept out of the way."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Tag(_Answer):
    """A tag of an image; `score` is between 0 and 1."""

    tag: str
    score: float


class ImageInfo(_Answer):
    """What is known of an image. `size` is bytes; `width` and `height` are pixels of the upright picture."""

    source: str
    bucket: str
    key: str
    status: str
    version: int
    model: str
    fingerprint: str
    indexed_at: datetime
    etag: str | None = None
    size: int | None = None
    content_type: str | None = None
    uploaded_at: datetime | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    taken_at: datetime | None = None
    camera: str | None = None
    sha256: str | None = None
    tags: tuple[Tag, ...] = ()
    reason: str | None = None
    detail: str | None = None


class Result(_Answer):
    """An image that was found.

    `score` is the cosine similarity; `relevance` (0 to 1) compares it with what the same question scores on the
    rest of the collection, None where there is too little of that; `duplicates` counts the near-duplicates that
    this result stands for.
    """

    id: UUID
    bucket: str
    key: str
    score: float | None
    relevance: float | None = None
    duplicates: int = 0
    payload: ImageInfo


class SearchPage(_Answer):
    """Results, best first. `next_cursor` asks for the page behind, None on the last one; `took_ms` is milliseconds."""

    results: tuple[Result, ...]
    next_cursor: str | None = None
    took_ms: float


class Image(_Answer):
    """An image of a listing; `vector` only where it was asked for."""

    id: UUID
    bucket: str
    key: str
    etag: str | None = None
    version: int
    payload: ImageInfo
    vector: tuple[float, ...] | None = None


class ImagesPage(_Answer):
    """A page of a listing."""

    images: tuple[Image, ...]
    next_cursor: str | None = None


class TagCount(_Answer):
    """How many images have a tag."""

    tag: str
    count: int


class TagCounts(_Answer):
    """Tags, most frequent first."""

    tags: tuple[TagCount, ...]


class FacetValue(_Answer):
    """How many images have a value."""

    value: str
    count: int


class FacetValues(_Answer):
    """Values, most frequent first."""

    values: tuple[FacetValue, ...]


class Statistic(_Answer):
    """Images of a stretch of time, or with a value. Wire names `from` and `to` are `since` and `until` here."""

    count: int
    value: str | None = None
    since: date | datetime | None = None
    until: date | datetime | None = None

    @classmethod
    def read(cls, row: dict[str, Any]) -> "Statistic":
        """From a row of the answer."""
        return cls.model_validate({**row, "since": row.get("from"), "until": row.get("to")})


class Near(_Answer):
    """An image of a group of duplicates."""

    id: UUID
    bucket: str
    key: str
    score: float | None = None


class DuplicateGroup(_Answer):
    """Images that are the same, or nearly: `kind` is `exact`, `re-encoded` or `similar`."""

    kind: str
    images: tuple[Near, ...]


class DuplicatesPage(_Answer):
    """A page of groups; it may be short, or empty, and not the last."""

    groups: tuple[DuplicateGroup, ...]
    next_cursor: str | None = None


class TimelineStep(_Answer):
    """Something that happened to an image; `at` is None where nobody recorded it."""

    step: str
    at: datetime | None = None
    approximate: bool = False
    detail: str = ""


class Timeline(_Answer):
    """Why an image is found, or not: what happened, a sentence of conclusion, and what to do."""

    steps: tuple[TimelineStep, ...]
    outcome: str
    conclusion: str
    remedy: str


class Status(_Answer):
    """What runs, since when, and how much is indexed, rejected, gone and waiting (None: not known there)."""

    release: str
    runs: tuple[str, ...]
    since: datetime
    model: str
    fingerprint: str
    device: str
    indexed: int
    rejected: int
    gone: int
    waiting: int | None = None


class Embedding(_Answer):
    """One unit vector."""

    embedding: tuple[float, ...]
    dimension: int
    model: str


class Embeddings(_Answer):
    """Unit vectors, in the order of what was sent."""

    embeddings: tuple[tuple[float, ...], ...]
    dimension: int
    model: str
