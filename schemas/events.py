"""The events on `image-events` and `image-embeddings`.

`ImageEvent` is a hint that an object changed. The other three are what a look at the object found:
`ImageEmbedded`, `ImageGone` or `ImageRejected`. All are frozen; unknown fields are ignored, so that
an older reader understands a newer writer's additions.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from schemas.dead_letter import RejectReason

POINT_NAMESPACE = UUID("6f1f3d0e-5f4c-5d0a-9b7e-2f6f0c1d7a11")
"""Namespace of every point id; never changes, since a change would orphan every stored point."""

MAX_VERSION = 2**53 - 1
"""Qdrant compares ranges as float64, which is exact only up to here."""

Version = Annotated[int, Field(ge=0, le=MAX_VERSION)]
SourceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
BucketName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^/\x00]+$")]
ObjectKey = Annotated[str, Field(min_length=1, max_length=4096)]


def point_id(source: str, bucket: str, key: str) -> UUID:
    """The id of an object's point: UUIDv5 of `source://bucket/key`, so that replays overwrite and never add."""
    return uuid5(POINT_NAMESPACE, f"{source}://{bucket}/{key}")


class Record(BaseModel):
    """The root of everything that is sent: immutable, and tolerant of fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ObjectRecord(Record):
    """A record about one object of one bucket."""

    source: SourceName
    bucket: BucketName
    key: ObjectKey

    @property
    def point_id(self) -> UUID:
        """The id of this object's point in the index."""
        return point_id(self.source, self.bucket, self.key)

    @property
    def partition_key(self) -> str:
        """The Kafka record key: all that is known of one object stays in one partition, in order."""
        return f"{self.bucket}/{self.key}"


class EventKind(StrEnum):
    """What the notifier says happened. Kept for people to read; no decision rests on it."""

    CREATED = "created"
    REMOVED = "removed"
    UNKNOWN = "unknown"


class EventOrigin(StrEnum):
    """Where a hint came from."""

    AWS = "aws"
    EVENTBRIDGE = "eventbridge"
    MINIO = "minio"
    RUSTFS = "rustfs"
    CEPH = "ceph"
    VERSITYGW = "versitygw"
    FOLDER = "folder"
    RECONCILE = "reconcile"
    REDRIVE = "redrive"


class Claim(Record):
    """What the notification claimed about the object, verbatim; for people, never for decisions."""

    event_name: str = ""
    etag: str | None = None
    size: int | None = None
    version_id: str | None = None
    sequencer: str | None = None


class ImageEvent(ObjectRecord):
    """A hint that an object may have changed: look at it.

    `after` is 0, except in events from reconcile, which carry the stored point's version: the look
    that follows is certainly later, whatever the clocks say. `event_time` is the store's time of the
    change, used for freshness metrics only.
    """

    type: Literal["image_event"] = "image_event"
    kind: EventKind = EventKind.UNKNOWN
    origin: EventOrigin
    after: Version = 0
    event_time: AwareDatetime | None = None
    received_at: AwareDatetime
    claim: Claim | None = None


class EncoderIdentity(Record):
    """Which encoder judged: its name, its fingerprint and the length of its vectors.

    The fingerprint reads `<weights>-<preprocessing>-<dtype>`. Two encoders whose fingerprints differ
    only in the dtype share one vector space (`space`): a search on a CPU in fp32 may query vectors
    made on a GPU in bf16.
    """

    model: str = Field(min_length=1, max_length=200)
    fingerprint: str = Field(pattern=r"^[0-9a-z]+-[0-9a-z]+-[0-9a-z]+$")
    dimension: int = Field(ge=1, le=65536)

    @property
    def space(self) -> str:
        """The part of the fingerprint that decides whether two vectors may be compared."""
        return self.fingerprint.rpartition("-")[0]


class ObjectFacts(Record):
    """What the store said in the same answer that carried the bytes."""

    etag: str = Field(min_length=1)
    size: int = Field(ge=0)
    content_type: str | None = None
    modified_at: AwareDatetime


class Location(Record):
    """A place on Earth: degrees of latitude and longitude, WGS 84, north and east positive."""

    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)


class ImageFacts(Record):
    """What the bytes say about the picture. `width` and `height` are pixels after EXIF orientation.

    `taken_at` is the camera's own clock, which knows no time zone: it is stored as if it were UTC.
    `orientation` is what the file holds, 1 to 8 as EXIF counts; None where it says nothing.
    """

    width: int = Field(ge=1)
    height: int = Field(ge=1)
    format: str
    taken_at: datetime | None = None
    camera: str | None = None
    orientation: int | None = Field(None, ge=1, le=8)
    location: Location | None = None


class Tag(Record):
    """A zero-shot tag and its probability."""

    tag: str
    score: float = Field(ge=0, le=1)


class Look(ObjectRecord):
    """What every judgement carries: which look it was, by which encoder, and when the hint came.

    `origin` is the hint's, as text: a reader must not stumble over one that it does not know. `looked_at` and
    `judged_at` are by the embedder's own clock, for people: only `version` orders looks.
    """

    version: Version
    encoder: EncoderIdentity
    event_time: AwareDatetime | None = None
    received_at: AwareDatetime
    origin: str | None = Field(None, max_length=40)
    looked_at: AwareDatetime | None = None
    judged_at: AwareDatetime | None = None


class ImageEmbedded(Look):
    """The object is an image, and this is its vector: `dimension` little-endian float32, unit length.

    `tags_version` tells by which vocabulary, model and settings the tags were made; None where none were asked for.
    """

    type: Literal["image_embedded"] = "image_embedded"
    object: ObjectFacts
    image: ImageFacts
    tags: tuple[Tag, ...] = ()
    tags_version: str | None = None
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    vector: bytes

    @model_validator(mode="after")
    def _vector_has_the_promised_length(self) -> "ImageEmbedded":
        if len(self.vector) != 4 * self.encoder.dimension:
            raise ValueError(
                f"the vector has {len(self.vector)} bytes; "
                f"{self.encoder.dimension} float32 need {4 * self.encoder.dimension}"
            )
        return self


class ImageGone(Look):
    """The object is proved to be gone; its point keeps the version, so that no late write brings it back."""

    type: Literal["image_gone"] = "image_gone"


class ImageRejected(Look):
    """The object's complete bytes are no image that can be embedded; judged for this ETag by this release."""

    type: Literal["image_rejected"] = "image_rejected"
    object: ObjectFacts
    reason: RejectReason
    detail: str
    release: str


Judgement = ImageEmbedded | ImageGone | ImageRejected
"""What travels on `image-embeddings`."""
