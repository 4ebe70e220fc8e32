"""Points, vectors and metadata for tests of an index."""

from datetime import UTC, datetime
from uuid import UUID

import numpy as np

from schemas.collection import CollectionMetadata, PointPayload, Status
from schemas.events import EncoderIdentity, Tag, point_id
from stores.vectors import Point, Vector

DIMENSION = 8
NOW = datetime(2026, 3, 1, 12, 30, 15, 250000, UTC)
ENCODER = EncoderIdentity(model="hashing", fingerprint="0a-1b-fp32", dimension=DIMENSION)
METADATA = CollectionMetadata(encoder=ENCODER, created_at=NOW)


def direction(seed: int, dimension: int = DIMENSION) -> Vector:
    """A unit vector of its own for every seed."""
    vector = np.random.default_rng(seed).normal(size=dimension).astype(np.float32)
    unit: Vector = vector / np.linalg.norm(vector)
    return unit


def at_cosine(cosine: float) -> Vector:
    """The unit vector whose cosine with the first axis is this."""
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[:2] = cosine, np.sqrt(1 - cosine**2)
    return vector


AXIS = at_cosine(1.0)


def key_id(key: str, bucket: str = "photos") -> UUID:
    """The id of a key's point."""
    return point_id("folder", bucket, key)


def point(
    key: str,
    version: int = 1,
    *,
    status: Status = Status.INDEXED,
    vector: Vector | None = None,
    bucket: str = "photos",
    etag: str | None = None,
    taken_at: datetime | None = None,
    uploaded_at: datetime | None = None,
    tags: tuple[str, ...] = (),
) -> Point:
    """A point as the indexer writes it: only an indexed one has a vector."""
    if status is Status.INDEXED and vector is None:
        vector = direction(sum(key.encode()) + version)
    payload = PointPayload(
        source="folder",
        bucket=bucket,
        key=key,
        status=status,
        version=version,
        model=ENCODER.model,
        fingerprint=ENCODER.fingerprint,
        indexed_at=NOW,
        etag=etag,
        taken_at=taken_at,
        uploaded_at=uploaded_at,
        tags=tuple(Tag(tag=tag, score=0.5) for tag in tags),
        tags_version="first" if tags else None,
    )
    return Point(point_id("folder", bucket, key), payload, vector if status is Status.INDEXED else None)
