"""Bringing a shard of an earlier release up to date when it is opened: payload indexes, and what is derived."""

from collections.abc import Mapping

import qdrant_edge as edge

from stores.edge_conversion import index_schema
from stores.edge_derived import INDEXES, KEY_STARTS, derived

CHUNK = 500
"""Points read in one go."""


def make_indexes(shard: edge.EdgeShard, indexes: Mapping[str, str]) -> int:
    """Make the payload indexes that are missing, about 1 s each over 100,000 points; answer how many were."""
    existing = shard.info().payload_schema
    missing = {name: kind for name, kind in {**indexes, **INDEXES}.items() if name not in existing}
    for name, kind in missing.items():
        shard.update(edge.UpdateOperation.create_field_index(name, index_schema(kind)))
    return len(missing)


def derive(shard: edge.EdgeShard) -> int:
    """Write what is derived to the points that an earlier release wrote, 10 s for 100,000; answer how many there were.

    Every key has a beginning, so a point without one has been written without all of it.
    """
    lacking = edge.Filter(must=[edge.IsEmptyCondition(KEY_STARTS)])
    written, following = 0, None
    while True:
        records, following = shard.scroll(
            edge.ScrollRequest(offset=following, limit=CHUNK, filter=lacking, with_payload=["key", "tags"])
        )
        for record in records:
            if fields := derived(record.payload or {}):
                shard.update(edge.UpdateOperation.set_payload([record.id], fields))
                written += 1
        if following is None:
            return written
