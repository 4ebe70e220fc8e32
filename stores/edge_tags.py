"""Tagging anew in the Edge process: vectors out, tags in."""

from array import array
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from stores.edge_conversion import id_bytes
from stores.edge_derived import derived
from stores.edge_filters import edge_filter


def vectors_from(shard: edge.EdgeShard, where: dict[str, Any], limit: int, start: bytes | None) -> list[Any]:
    """Ids, versions and vectors of the points that have one, and the id at which the next page starts."""
    records, following = shard.scroll(
        edge.ScrollRequest(
            offset=UUID(bytes=start) if start else None,
            limit=limit,
            filter=edge_filter(where),
            with_payload=["version"],
            with_vector=True,
        )
    )
    ids: list[bytes] = []
    versions: list[Any] = []
    vectors: list[bytes] = []
    for record in records:
        vector: Any = record.vector
        if isinstance(vector, list) and record.payload and "version" in record.payload:
            ids.append(id_bytes(record.id))
            versions.append(record.payload["version"])
            vectors.append(array("f", vector).tobytes())
    return [ids, versions, vectors, id_bytes(following) if following else None]


def set_tags(shard: edge.EdgeShard, news: list[tuple[bytes, int, dict[str, Any]]]) -> int:
    """Set each payload on the point that is indexed and of the version given; answer how many were.

    Nothing else happens in this process between looking and writing, and the log keeps their order. This takes
    half the time of an update with a filter: measured 90 and 170 microseconds among 100,000 points.
    """
    points = [(UUID(bytes=one), version, payload) for one, version, payload in news]
    stored = {
        id_bytes(record.id): record.payload.get("version")
        for record in shard.retrieve([point_id for point_id, _, _ in points], ["version", "status"], False)
        if record.payload and record.payload.get("status") == "indexed"
    }
    written = 0
    for point_id, version, payload in points:
        if stored.get(point_id.bytes) == version:
            shard.update(edge.UpdateOperation.set_payload([point_id], payload | derived(payload)))
            written += 1
    return written
