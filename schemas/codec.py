"""Records to bytes and back.

`image-events` and `dead-letters` are JSON, for people; `image-embeddings` is a MessagePack map whose
vector is raw little-endian float32, since a JSON vector of 512 numbers costs 11 kB and about 0.9 ms.
Every message names its schema and version in a header; readers accept every version ever released.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgpack
from pydantic import ValidationError

from schemas.dead_letter import DeadLetter, RejectReason
from schemas.errors import UndecodableRecord
from schemas.events import ImageEmbedded, ImageEvent, ImageGone, ImageRejected, Judgement, ObjectRecord
from schemas.headers import SCHEMA, TRACEPARENT, Headers, child_traceparent, header, new_traceparent

SCHEMA_VERSION = 1
"""Written into every message; raised when a reader of the old version would misread the new one."""

Sendable = ImageEvent | ImageEmbedded | ImageGone | ImageRejected

_JUDGEMENTS: dict[str, type[ImageEmbedded] | type[ImageGone] | type[ImageRejected]] = {
    "image_embedded": ImageEmbedded,
    "image_gone": ImageGone,
    "image_rejected": ImageRejected,
}


@dataclass(frozen=True)
class Message:
    """A record as it travels: key, value and headers, whatever the transport."""

    key: bytes | None
    value: bytes
    headers: Headers = ()


def encode(record: Sendable, *, traceparent: bytes | None = None) -> Message:
    """The message for a record, with the trace context of what caused it; without one it begins a trace."""
    if isinstance(record, ImageEvent):
        value = record.model_dump_json(exclude_none=True).encode()
    else:
        value = msgpack.packb(record.model_dump(exclude_none=True), default=_plain)
    return Message(
        key=record.partition_key.encode(),
        value=value,
        headers=(
            (SCHEMA, f"{record.type}/{SCHEMA_VERSION}".encode()),
            (TRACEPARENT, traceparent or new_traceparent()),
        ),
    )


def encode_dead_letter(letter: DeadLetter) -> Message:
    """The message for a dead letter, keyed like the record that it holds."""
    return Message(
        key=letter.origin.key,
        value=letter.model_dump_json(exclude_none=True).encode(),
        headers=(
            (SCHEMA, f"{letter.type}/{SCHEMA_VERSION}".encode()),
            (TRACEPARENT, child_traceparent(letter.origin.headers)),
            ("sightline-reason", letter.reason.encode()),
        ),
    )


def decode_image_event(value: bytes, headers: Headers = ()) -> ImageEvent:
    """An `ImageEvent` from its JSON. Raises `UndecodableRecord`."""
    _check_schema(headers, {"image_event"})
    try:
        return ImageEvent.model_validate_json(value)
    except ValidationError as error:
        raise _malformed("image_event", error) from None


def decode_judgement(value: bytes, headers: Headers = ()) -> Judgement:
    """An `ImageEmbedded`, `ImageGone` or `ImageRejected` from its MessagePack map. Raises `UndecodableRecord`."""
    _check_schema(headers, set(_JUDGEMENTS))
    try:
        fields = msgpack.unpackb(value)
    except (ValueError, msgpack.UnpackException) as error:
        raise UndecodableRecord(
            RejectReason.MALFORMED_RECORD, f"not MessagePack: {str(error) or type(error).__name__}"
        ) from None
    if not isinstance(fields, dict):
        raise UndecodableRecord(RejectReason.MALFORMED_RECORD, f"a map was expected, not {type(fields).__name__}")
    model = _JUDGEMENTS.get(str(fields.get("type")))
    if model is None:
        raise UndecodableRecord(RejectReason.UNKNOWN_SCHEMA, f"no record type is called {fields.get('type')!r:.60}")
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _malformed(model.__name__, error) from None


def decode_dead_letter(value: bytes, headers: Headers = ()) -> DeadLetter:
    """A `DeadLetter` from its JSON. Raises `UndecodableRecord`."""
    _check_schema(headers, {"dead_letter"})
    try:
        return DeadLetter.model_validate_json(value)
    except ValidationError as error:
        raise _malformed("dead_letter", error) from None


def object_uri(record: object) -> str | None:
    """`source://bucket/key` of a record that is about an object, else None."""
    if isinstance(record, ObjectRecord):
        return f"{record.source}://{record.bucket}/{record.key}"
    return None


def _check_schema(headers: Headers, expected: set[str]) -> None:
    written = header(headers, SCHEMA)
    if written is None:
        return
    name, _, version = written.decode("utf-8", "replace").partition("/")
    # int() alone accepts other scripts' digits, and refuses 5,000 of ours with an error of its own.
    if name not in expected or not re.fullmatch("[1-9][0-9]{0,5}", version) or int(version) > SCHEMA_VERSION:
        raise UndecodableRecord(
            RejectReason.UNKNOWN_SCHEMA,
            f"the record says it is {name[:60]}/{version[:10]}, this release reads {', '.join(sorted(expected))} up to "
            f"version {SCHEMA_VERSION}; upgrade this service before the one that writes",
        )


def _malformed(name: str, error: ValidationError) -> UndecodableRecord:
    problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'record'}: {e['msg']}" for e in error.errors()[:5])
    return UndecodableRecord(RejectReason.MALFORMED_RECORD, f"{name}: {problems}"[:500])


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no MessagePack form for {type(value).__name__}")
