"""Dead letters: records that will never succeed, kept with the reason, the origin and the original bytes."""

import base64
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, PlainSerializer, WithJsonSchema


def _standard_base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


Base64 = Annotated[
    bytes,
    PlainSerializer(_standard_base64, return_type=str, when_used="json-unless-none"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
"""Bytes that are standard base64 in JSON (RFC 4648, section 4). pydantic's own choice is the URL-safe alphabet,
which `jq`'s @base64d refuses; both are read.
"""


class RejectReason(StrEnum):
    """Why something was rejected. Bounded, so that it may be a metric label."""

    # The record itself.
    MALFORMED_RECORD = "malformed_record"
    UNKNOWN_SCHEMA = "unknown_schema"
    # A notification.
    UNKNOWN_NOTIFICATION = "unknown_notification"
    NOTIFICATION_TOO_LARGE = "notification_too_large"
    NOTIFICATION_TOO_DEEP = "notification_too_deep"
    BUCKET_NOT_ALLOWED = "bucket_not_allowed"
    INVALID_KEY = "invalid_key"
    # The object's bytes.
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_MANY_PIXELS = "too_many_pixels"
    DECODE_FAILED = "decode_failed"
    REFUSED_BY_ENCODER = "refused_by_encoder"
    # The vector.
    INVALID_VECTOR = "invalid_vector"
    FOREIGN_ENCODER = "foreign_encoder"


class Origin(BaseModel):
    """Where the original record stood. In embedded mode the topic is the queue's name and the partition its lane."""

    model_config = ConfigDict(frozen=True, extra="ignore", val_json_bytes="base64")

    topic: str
    partition: int
    offset: int
    key: Base64 | None = None
    timestamp: AwareDatetime | None = None
    headers: tuple[tuple[str, Base64], ...] = ()


class DeadLetter(BaseModel):
    """One rejected record. JSON, with the original bytes in base64, so that `kcat` and `jq` can read it."""

    model_config = ConfigDict(frozen=True, extra="ignore", val_json_bytes="base64")

    type: Literal["dead_letter"] = "dead_letter"
    stage: str
    reason: RejectReason
    detail: str
    object: str | None = None
    """`source://bucket/key` where the record names an object."""
    origin: Origin
    original: Base64
    release: str
    occurred_at: AwareDatetime
