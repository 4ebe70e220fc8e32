"""The collection in the index: its name, its metadata, its points' payload and the payload indexes."""

import base64
import re
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field

from schemas.dead_letter import Base64, RejectReason
from schemas.events import (
    BucketName,
    EncoderIdentity,
    ImageEmbedded,
    ImageRejected,
    Judgement,
    Location,
    ObjectKey,
    Record,
    SourceName,
    Tag,
    Version,
)

_PATH_STARTS = ("/", "./", "../", "~")
_CHECKPOINT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")

ALIAS = "images"
"""Readers use the alias; writers use the collection's own name."""

COLLECTION_SCHEMA = 1


class Status(StrEnum):
    """What a point stands for. Only `indexed` points have a vector; every search asks for them alone."""

    INDEXED = "indexed"
    GONE = "gone"
    REJECTED = "rejected"


class IndexKind(StrEnum):
    """Kinds of payload index."""

    KEYWORD = "keyword"
    KEYWORD_PREFIX = "keyword_prefix"
    INTEGER = "integer"
    FLOAT = "float"
    DATETIME = "datetime"
    GEO = "geo"


PAYLOAD_INDEXES: dict[str, IndexKind] = {
    "status": IndexKind.KEYWORD,
    "version": IndexKind.INTEGER,
    "source": IndexKind.KEYWORD,
    "bucket": IndexKind.KEYWORD,
    "key": IndexKind.KEYWORD_PREFIX,
    "format": IndexKind.KEYWORD,
    "camera": IndexKind.KEYWORD,
    "reason": IndexKind.KEYWORD,
    "sha256": IndexKind.KEYWORD,
    "size": IndexKind.INTEGER,
    "width": IndexKind.INTEGER,
    "height": IndexKind.INTEGER,
    "uploaded_at": IndexKind.DATETIME,
    "taken_at": IndexKind.DATETIME,
    "indexed_at": IndexKind.DATETIME,
    "tags[].tag": IndexKind.KEYWORD,
    "tags[].score": IndexKind.FLOAT,
    "tags_version": IndexKind.KEYWORD,
    "location": IndexKind.GEO,
}
"""Made with the collection, before any data: an unindexed filter over 100 k points took 250 ms."""


def _from_base64(value: Any) -> Any:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


class Canary(Record):
    """The vectors of a few golden inputs, as the collection's first writer made them, and what it made them with.

    `vectors`: name of the golden input to little-endian float32, standard base64 in JSON; they never change.
    `made_with`: releases of the libraries and the kind of device then; `matched_with` those of the latest writer that
    was found to make the same vectors, at `matched_at`. They are for people: only vectors are compared.
    """

    vectors: dict[str, Annotated[Base64, BeforeValidator(_from_base64)]]
    made_with: dict[str, str]
    matched_with: dict[str, str]
    matched_at: AwareDatetime


class CollectionMetadata(Record):
    """What the collection was made for. A writer whose encoder differs is refused.

    `canary` is None until a process that has the model has written it.
    """

    encoder: EncoderIdentity
    collection_schema: int = COLLECTION_SCHEMA
    created_at: AwareDatetime
    canary: Canary | None = None


class Journey(Record):
    """How an image came here, for people who ask why it is found or not. Times are UTC.

    `event_time`: when it changed, by the notification; `received_at`: when the hint was taken in, and `origin` from
    where; `looked_at`: when the object was read; `judged_at`: when its vector, or the verdict, was made.
    """

    origin: str | None = None
    event_time: AwareDatetime | None = None
    received_at: AwareDatetime | None = None
    looked_at: AwareDatetime | None = None
    judged_at: AwareDatetime | None = None


class PointPayload(Record):
    """The payload of a point. Times are UTC; `size` is bytes.

    `width` and `height` are the pixels of the upright picture, `orientation` (EXIF, 1 to 8) how the file holds it.
    """

    source: SourceName
    bucket: BucketName
    key: ObjectKey
    status: Status
    version: Version
    model: str
    fingerprint: str
    indexed_at: AwareDatetime
    etag: str | None = None
    size: int | None = None
    content_type: str | None = None
    uploaded_at: AwareDatetime | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    taken_at: AwareDatetime | None = None
    camera: str | None = None
    orientation: int | None = None
    location: Location | None = None
    sha256: str | None = None
    tags: tuple[Tag, ...] = ()
    tags_version: str | None = None
    reason: RejectReason | None = None
    detail: str | None = None
    release: str | None = Field(default=None, description="The release that rejected the bytes.")
    journey: Journey | None = None

    def as_json(self) -> dict[str, Any]:
        """The payload as JSON values, without what is not known."""
        return self.model_dump(mode="json", exclude_none=True)


def model_label(name: str) -> str:
    """What a model is called in records and in the index, from the name that a person chose it by.

    Paths are reduced to their last part, since each machine keeps its weights elsewhere:
    `ViT-B-32//models/ours.pt` is `ViT-B-32/ours`, `/models/ours` is `ours`, `hf-hub:org/repo` is `org/repo`.
    """
    if name.startswith("hf-hub:"):
        return name.removeprefix("hf-hub:")
    if name.startswith(_PATH_STARTS):
        return _last_part(name)
    architecture, _, weights = name.partition("/")
    return f"{architecture}/{_last_part(weights)}" if weights.startswith(_PATH_STARTS) else name


def collection_name(model: str) -> str:
    """The name of the collection for a model, given by the name that a person chose it by."""
    return "images__" + re.sub(r"[^a-zA-Z0-9_-]+", "_", model_label(model))


def _last_part(path: str) -> str:
    last = PurePosixPath(path)
    return last.stem if last.suffix in _CHECKPOINT_SUFFIXES else last.name


def payload_of(judgement: Judgement, *, indexed_at: datetime) -> PointPayload:
    """The payload of the point that a judgement becomes."""
    fields: dict[str, Any] = {
        "source": judgement.source,
        "bucket": judgement.bucket,
        "key": judgement.key,
        "version": judgement.version,
        "model": judgement.encoder.model,
        "fingerprint": judgement.encoder.fingerprint,
        "indexed_at": indexed_at.astimezone(UTC),
        "journey": _journey(judgement),
    }
    if isinstance(judgement, ImageEmbedded | ImageRejected):
        fields |= {
            "etag": judgement.object.etag,
            "size": judgement.object.size,
            "content_type": judgement.object.content_type,
            "uploaded_at": judgement.object.modified_at,
        }
    if isinstance(judgement, ImageEmbedded):
        taken_at = judgement.image.taken_at
        return PointPayload(
            **fields,
            status=Status.INDEXED,
            width=judgement.image.width,
            height=judgement.image.height,
            format=judgement.image.format,
            taken_at=taken_at.replace(tzinfo=taken_at.tzinfo or UTC) if taken_at else None,
            camera=judgement.image.camera,
            orientation=judgement.image.orientation,
            location=judgement.image.location,
            sha256=judgement.sha256,
            tags=judgement.tags,
            tags_version=judgement.tags_version,
        )
    if isinstance(judgement, ImageRejected):
        return PointPayload(
            **fields,
            status=Status.REJECTED,
            reason=judgement.reason,
            detail=judgement.detail,
            release=judgement.release,
        )
    return PointPayload(**fields, status=Status.GONE)


def _journey(judgement: Judgement) -> Journey | None:
    if judgement.looked_at is None:  # of a release that did not tell
        return None
    return Journey(
        origin=judgement.origin,
        event_time=_utc(judgement.event_time),
        received_at=_utc(judgement.received_at),
        looked_at=_utc(judgement.looked_at),
        judged_at=_utc(judgement.judged_at),
    )


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC)
