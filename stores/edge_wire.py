"""Between our values and the messages to the Edge process (see `stores.edge_frames`)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np

from schemas.collection import PointPayload
from stores.points import tags_payload
from stores.vectors import NewTags, StoredPoint, Vectors, Where


def where_on_wire(where: Where) -> dict[str, Any]:
    """The conditions that are set, as MessagePack can carry them."""
    wire: dict[str, Any] = {
        "status": where.status.value if where.status else None,
        "source": where.source,
        "bucket": where.bucket,
        "prefix": where.prefix or None,
        "taken_at": _span(where.taken_after, where.taken_before),
        "uploaded_at": _span(where.uploaded_after, where.uploaded_before),
        "tag": None if where.tag is None else [where.tag, where.tag_score],
        "tags_not_of": where.tags_not_of,
        "without": [one.bytes for one in where.without] or None,
    }
    return {name: value for name, value in wire.items() if value is not None}


def stored_point(record: tuple[bytes, dict[str, Any], bytes | None]) -> StoredPoint:
    """A record as the process answers it: id, payload and vector."""
    id_bytes, payload, vector = record
    return StoredPoint(
        UUID(bytes=id_bytes),
        PointPayload.model_validate(payload),
        None if vector is None else np.frombuffer(vector, dtype=np.float32),
    )


def tags_on_wire(news: NewTags) -> tuple[bytes, int, dict[str, Any]]:
    """Id, version, and the fields of the payload that change."""
    return news.id.bytes, news.version, tags_payload(news)


def vectors_of(rows: Sequence[bytes], dimension: int) -> Vectors:
    """Vectors as one array of shape (n, dimension)."""
    return np.frombuffer(b"".join(rows), dtype=np.float32).reshape(-1, dimension)


def _span(after: datetime | None, before: datetime | None) -> list[str | None] | None:
    if after is None and before is None:
        return None
    return [moment.astimezone(UTC).isoformat() if moment else None for moment in (after, before)]
