"""One full record of every type, every field set: what the golden files hold, written out as models."""

import struct
from datetime import UTC, datetime, timedelta, timezone

from pydantic import BaseModel

from schemas.codec import Sendable, encode, encode_dead_letter
from schemas.collection import Canary, CollectionMetadata, PointPayload, payload_of
from schemas.dead_letter import DeadLetter, Origin, RejectReason
from schemas.events import (
    Claim,
    EncoderIdentity,
    EventKind,
    EventOrigin,
    ImageEmbedded,
    ImageEvent,
    ImageFacts,
    ImageGone,
    ImageRejected,
    Location,
    ObjectFacts,
    Tag,
)

EVENT_TIME = datetime(2026, 3, 1, 12, 30, 15, 250000, UTC)
RECEIVED_AT = datetime(2026, 3, 1, 12, 30, 16, tzinfo=UTC)
MODIFIED_AT = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
LOOKED_AT = datetime(2026, 3, 1, 12, 30, 17, 42000, UTC)
JUDGED_AT = datetime(2026, 3, 1, 12, 30, 17, 123456, UTC)
INDEXED_AT = datetime(2026, 3, 1, 12, 30, 18, 1, UTC)
KEY = "ferien 2026/Zürich+🏔️.jpg"
VERSION = 1_772_368_217_042
ENCODER = EncoderIdentity(model="ViT-B-32/openai", fingerprint="4a1c-9e0f-fp32", dimension=4)
FACTS = ObjectFacts(
    etag="9b2cf535f27731c974343645a3985328", size=48_213, content_type="image/jpeg", modified_at=MODIFIED_AT
)
VECTOR = struct.pack("<4f", 0.5, -0.5, 0.5, -0.5)

IMAGE_EVENT = ImageEvent(
    source="s3",
    bucket="photos",
    key=KEY,
    kind=EventKind.CREATED,
    origin=EventOrigin.AWS,
    after=VERSION - 1,
    event_time=EVENT_TIME,
    received_at=RECEIVED_AT,
    claim=Claim(
        event_name="ObjectCreated:Put",
        etag="9b2cf535f27731c974343645a3985328",
        size=48_213,
        version_id="096fKKXTRTtl3on89fVO.nfljtsv6qko",
        sequencer="0055AED6DCD90281E5",
    ),
)
IMAGE_EMBEDDED = ImageEmbedded(
    source="s3",
    bucket="photos",
    key=KEY,
    version=VERSION,
    encoder=ENCODER,
    event_time=EVENT_TIME,
    received_at=RECEIVED_AT,
    origin="aws",
    looked_at=LOOKED_AT,
    judged_at=JUDGED_AT,
    object=FACTS,
    image=ImageFacts(
        width=640,
        height=480,
        format="JPEG",
        taken_at=datetime(2026, 2, 28, 17, 4, 59),
        camera="Kamera Modell 1",
        orientation=6,
        location=Location(lat=46.5475, lon=-7.985),
    ),
    tags=(Tag(tag="mountain", score=0.75), Tag(tag="snow", score=0.25)),
    tags_version="0123456789abcdef",
    sha256="3f" * 32,
    vector=VECTOR,
)
IMAGE_GONE = ImageGone(
    source="s3",
    bucket="photos",
    key=KEY,
    version=VERSION + 1,
    encoder=ENCODER,
    event_time=EVENT_TIME,
    received_at=RECEIVED_AT,
    origin="aws",
    looked_at=LOOKED_AT,
    judged_at=JUDGED_AT,
)
IMAGE_REJECTED = ImageRejected(
    source="s3",
    bucket="photos",
    key=KEY,
    version=VERSION + 2,
    encoder=ENCODER,
    event_time=EVENT_TIME,
    received_at=RECEIVED_AT,
    origin="aws",
    looked_at=LOOKED_AT,
    judged_at=JUDGED_AT,
    object=FACTS,
    reason=RejectReason.DECODE_FAILED,
    detail="the JPEG ends after 31,000 of 48,213 bytes",
    release="0.1.0",
)
DEAD_LETTER = DeadLetter(
    stage="embedder",
    reason=RejectReason.MALFORMED_RECORD,
    detail="image_event: key: Field required",
    object=f"s3://photos/{KEY}",
    origin=Origin(
        topic="image-events",
        partition=3,
        offset=1_000_017,
        key=b"photos/\xff\xfe",
        timestamp=datetime(2026, 3, 1, 13, 30, 16, tzinfo=timezone(timedelta(hours=1))),
        headers=(("sightline-schema", b"image_event/1"), ("x-raw", b"\xfb\xff\x00")),
    ),
    original=b'\xfb\xff\xfe{"not": "utf-8"}\x00',
    release="0.1.0",
    occurred_at=RECEIVED_AT,
)
COLLECTION = CollectionMetadata(
    encoder=ENCODER,
    created_at=RECEIVED_AT,
    canary=Canary(
        vectors={"photo": VECTOR},
        made_with={"torch": "2.9.0", "device": "cpu"},
        matched_with={"torch": "2.9.1", "device": "cpu"},
        matched_at=INDEXED_AT,
    ),
)
POINT_INDEXED = payload_of(IMAGE_EMBEDDED, indexed_at=INDEXED_AT)
POINT_REJECTED = payload_of(IMAGE_REJECTED, indexed_at=INDEXED_AT)
POINT_GONE = payload_of(IMAGE_GONE, indexed_at=INDEXED_AT)

GOLDEN: dict[str, BaseModel] = {
    "image_event.json": IMAGE_EVENT,
    "image_embedded.msgpack": IMAGE_EMBEDDED,
    "image_gone.msgpack": IMAGE_GONE,
    "image_rejected.msgpack": IMAGE_REJECTED,
    "dead_letter.json": DEAD_LETTER,
    "collection.json": COLLECTION,
    "point_indexed.json": POINT_INDEXED,
    "point_rejected.json": POINT_REJECTED,
    "point_gone.json": POINT_GONE,
}
"""File name to record. The first five travel on topics, the others are stored in the index."""

_UNTOLD = {"origin": None, "looked_at": None, "judged_at": None}
_TAGGED_EMBEDDED = IMAGE_EMBEDDED.model_copy(update=_UNTOLD)
_FIRST_EMBEDDED = _TAGGED_EMBEDDED.model_copy(
    update={
        "tags_version": None,
        "image": IMAGE_EMBEDDED.image.model_copy(update={"orientation": None, "location": None}),
    }
)
_FIRST_GONE = IMAGE_GONE.model_copy(update=_UNTOLD)
_FIRST_REJECTED = IMAGE_REJECTED.model_copy(update=_UNTOLD)
_OF_A_LOOK = ("image_embedded.msgpack", "image_gone.msgpack", "image_rejected.msgpack")
_POINTS = ("point_indexed.json", "point_rejected.json", "point_gone.json")
RELEASED: dict[str, dict[str, BaseModel]] = {
    "v1": GOLDEN
    | {
        "image_embedded.msgpack": _FIRST_EMBEDDED,
        "image_gone.msgpack": _FIRST_GONE,
        "image_rejected.msgpack": _FIRST_REJECTED,
        "collection.json": COLLECTION.model_copy(update={"canary": None}),
        "point_indexed.json": payload_of(_FIRST_EMBEDDED, indexed_at=INDEXED_AT),
        "point_rejected.json": payload_of(_FIRST_REJECTED, indexed_at=INDEXED_AT),
        "point_gone.json": payload_of(_FIRST_GONE, indexed_at=INDEXED_AT),
    },
    "v1.1": {
        "image_embedded.msgpack": _TAGGED_EMBEDDED,
        "collection.json": COLLECTION,
        "point_indexed.json": payload_of(_TAGGED_EMBEDDED, indexed_at=INDEXED_AT),
    },
    "v1.2": {name: GOLDEN[name] for name in (*_OF_A_LOOK, *_POINTS)},
}
"""Folder of golden files to what they hold. A folder after the point has the records that gained fields, only those."""


def newest(name: str) -> str:
    """The last folder that has a golden file of this name."""
    return [folder for folder, files in RELEASED.items() if name in files][-1]


def written(record: BaseModel) -> bytes:
    """The bytes that this release writes for a record."""
    if isinstance(record, DeadLetter):
        return encode_dead_letter(record).value
    if isinstance(record, Sendable):
        return encode(record).value
    if isinstance(record, PointPayload | CollectionMetadata):
        return record.model_dump_json(exclude_none=True).encode()
    raise TypeError(f"no golden form for {type(record).__name__}")
