"""Between frames and Qdrant Edge's own types. Imported by the Edge process only: the engine is loaded nowhere else."""

import struct
from array import array
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from stores.edge_derived import INDEXES

PAYLOAD = edge.PayloadSelector.Exclude(list(INDEXES))
"""What is read of a payload: turning the numbers into Python's would take as long as all the rest."""


def conditional_upsert(id_bytes: bytes, payload: dict[str, Any], vector: bytes | None) -> edge.UpdateOperation:
    """An upsert that leaves a stored point of a higher version alone.

    A range never matches an absent field, so a point without a version would be frozen for ever; `is_empty`
    lets it be written.
    """
    point = edge.Point(UUID(bytes=id_bytes), {} if vector is None else floats(vector), payload)
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
    """Id, payload and vector (or None) of a record that was asked for with `PAYLOAD`."""
    return [id_bytes(record.id), record.payload or {}, vector_bytes(record)]


def vector_bytes(record: edge.Record) -> bytes | None:
    """The vector of a record as native float32 bytes; None where it has none, or none was asked for."""
    vector: Any = record.vector
    # A point without a vector answers an empty map. An array would take three times as long as a struct.
    return struct.pack(f"{len(vector)}f", *vector) if isinstance(vector, list) else None


def id_bytes(point_id: Any) -> bytes:
    """The 16 bytes of a point's id."""
    return (point_id if isinstance(point_id, UUID) else UUID(str(point_id))).bytes
