"""What the service answers. Fields that a newer service adds are kept out of the way."""

from collections.abc import Mapping
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


class Location(_Answer):
    """Where an image was taken, in degrees of WGS 84; only where the service keeps it."""

    lat: float
    lon: float


class Journey(_Answer):
    """How an image came into the index. Times are UTC, None where nobody recorded them."""

    origin: str | None = None
    event_time: datetime | None = None
    received_at: datetime | None = None
    looked_at: datetime | None = None
    judged_at: datetime | None = None


class ImageInfo(_Answer):
    """What is known of an image. `size` is bytes; `width` and `height` are pixels of the upright picture.

    `orientation` is EXIF's (1 to 8), of the file; `tags_version` is equal for tags of the same vocabulary and settings;
    `reason`, `detail` and `release` say why it was rejected, and by which release.
    """

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
    orientation: int | None = None
    location: Location | None = None
    sha256: str | None = None
    tags: tuple[Tag, ...] = ()
    tags_version: str | None = None
    reason: str | None = None
    detail: str | None = None
    release: str | None = None
    journey: Journey | None = None


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
    """Results, best first. `next_cursor` asks for the page behind, None on the last one.

    `took_ms` is milliseconds, and `steps_ms` how many of them each step took.
    """

    results: tuple[Result, ...]
    next_cursor: str | None = None
    took_ms: float
    steps_ms: Mapping[str, float] = {}


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
    """Tags, most frequent first; `images` is how many match, tagged or not."""

    tags: tuple[TagCount, ...]
    images: int | None = None


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
    payload: ImageInfo | None = None


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


class ObjectNow(_Answer):
    """What the store says now: `same` is whether it is what is indexed. None where it cannot be asked."""

    exists: bool | None
    same: bool | None = None
    etag: str | None = None
    size: int | None = None
    modified_at: datetime | None = None
    problem: str | None = None
    remedy: str | None = None


class RulesNow(_Answer):
    """Whether the service's rules let the key in today; None where nobody there knows."""

    wanted: bool | None
    why: str | None = None


class ModelNow(_Answer):
    """Whose vector is stored, and who embeds questions; `comparable` is None without a vector."""

    stored: str | None
    running: str
    comparable: bool | None


class LetterNow(_Answer):
    """A dead letter about the object."""

    occurred_at: datetime
    stage: str
    reason: str
    detail: str


class Now(_Answer):
    """What holds at `checked_at`; `waiting_for` is what the pipeline waits for.

    `dead_letters` is None where they cannot be read from there.
    """

    checked_at: datetime
    object: ObjectNow
    rules: RulesNow
    model: ModelNow
    dead_letters: tuple[LetterNow, ...] | None = None
    waiting_for: tuple[str, ...] = ()


class Timeline(_Answer):
    """Why an image is found, or not: what happened, what holds now, a sentence of conclusion, and what to do.

    `status` is None for a key that the index does not know.
    """

    id: UUID
    source: str
    bucket: str
    key: str
    status: str | None
    now: Now
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
