"""Between frames and Qdrant Edge's own types. Imported by the Edge process only: the engine is loaded nowhere else."""

from array import array
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from stores.edge_derived import derived, without_derived


def conditional_upsert(id_bytes: bytes, payload: dict[str, Any], vector: bytes | None) -> edge.UpdateOperation:
    """An upsert that leaves a stored point of a higher version alone.

    A range never matches an absent field, so a point without a version would be frozen for ever; `is_empty`
    lets it be written.
    """
    kept = payload | derived(payload)
    point = edge.Point(UUID(bytes=id_bytes), {} if vector is None else floats(vector), kept)
    return edge.UpdateOperation.upsert_points([point], edge.Filter(should=[
        edge.FieldCondition("version", range=edge.RangeFloat(lte=payload["version"])),
        edge.IsEmptyCondition("version"),
    ]))  # fmt: skip


def swept(before_version: int) -> edge.Filter:
    """The `gone` points of a lower version."""
    return edge.Filter(must=[
        edge.FieldCondition("status", match=edge.MatchValue("gone")),
        edge.FieldCondition("version", range=edge.RangeFloat(lt=before_version)),
    ])  # fmt: skip


def index_schema(kind: str) -> Any:
    """The payload index for a kind of `schemas.collection.IndexKind`, or of `stores.edge_derived.INDEXES`."""
    return {
        "keyword": edge.PayloadSchemaType.Keyword,
        "keyword_prefix": edge.KeywordIndexParams(prefix=True),
        "integer": edge.PayloadSchemaType.Integer,
        "float": edge.PayloadSchemaType.Float,
        "datetime": edge.PayloadSchemaType.Datetime,
        "geo": edge.PayloadSchemaType.Geo,
        "integer_value": edge.IntegerIndexParams(lookup=True, range=False),
        "integer_range": edge.IntegerIndexParams(lookup=False, range=True),
    }[kind]


def floats(vector: bytes) -> list[float]:
    """Native float32 bytes as numbers."""
    return array("f", vector).tolist()


def record_on_wire(record: edge.Record) -> list[Any]:
    """Id, payload and vector (or None)."""
    vector: Any = record.vector
    # A point without a vector answers an empty map.
    packed = array("f", vector).tobytes() if isinstance(vector, list) else None
    return [id_bytes(record.id), without_derived(record.payload or {}), packed]


def id_bytes(point_id: Any) -> bytes:
    """The 16 bytes of a point's id."""
    return (point_id if isinstance(point_id, UUID) else UUID(str(point_id))).bytes
