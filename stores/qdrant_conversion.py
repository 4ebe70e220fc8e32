"""Between our values and qdrant-client's models."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client import models

from schemas.collection import IndexKind, PointPayload
from stores.points import checked_vector, tags_payload
from stores.vectors import NewTags, Point, StoredPoint, VectorPage

INDEX_SCHEMAS: dict[IndexKind, models.PayloadSchemaType | models.KeywordIndexParams] = {
    IndexKind.KEYWORD: models.PayloadSchemaType.KEYWORD,
    IndexKind.KEYWORD_PREFIX: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True),
    IndexKind.INTEGER: models.PayloadSchemaType.INTEGER,
    IndexKind.FLOAT: models.PayloadSchemaType.FLOAT,
    IndexKind.DATETIME: models.PayloadSchemaType.DATETIME,
    IndexKind.GEO: models.PayloadSchemaType.GEO,
}


def conditional_upsert(point: Point, dimension: int) -> models.UpsertOperation:
    """An upsert that leaves a stored point of a higher version alone.

    A range never matches an absent field, so a point without a version would be frozen for ever; `is_empty`
    lets it be written. Raises `ValueError` for NaN, infinity or another length.
    """
    vector: Any = {}
    if point.vector is not None:
        owner = f"point {point.id} ({point.payload.key})"
        vector = checked_vector(point.vector, dimension, owner).tolist()
    return models.UpsertOperation(
        upsert=models.PointsList(
            points=[models.PointStruct(id=str(point.id), vector=vector, payload=point.payload.as_json())],
            update_filter=models.Filter(
                should=[
                    models.FieldCondition(key="version", range=models.Range(lte=point.payload.version)),
                    models.IsEmptyCondition(is_empty=models.PayloadField(key="version")),
                ]
            ),
        )
    )


def conditional_tags(news: NewTags) -> models.SetPayloadOperation:
    """New tags for a point that is still indexed and of the version given; for another one, nothing."""
    return models.SetPayloadOperation(
        set_payload=models.SetPayload(
            payload=tags_payload(news),
            filter=models.Filter(
                must=[
                    models.HasIdCondition(has_id=[str(news.id)]),
                    models.FieldCondition(key="version", match=models.MatchValue(value=news.version)),
                    models.FieldCondition(key="status", match=models.MatchValue(value="indexed")),
                ]
            ),
        )
    )


def swept(before_version: int) -> models.FilterSelector:
    """The `gone` points of a lower version."""
    return models.FilterSelector(
        filter=models.Filter(
            must=[
                models.FieldCondition(key="status", match=models.MatchValue(value="gone")),
                models.FieldCondition(key="version", range=models.Range(lt=before_version)),
            ]
        )
    )


def stored_point(record: models.Record | models.ScoredPoint) -> StoredPoint:
    """A record as it was read; its vector is absent, or empty, where the point has none."""
    vector = np.asarray(record.vector, dtype=np.float32) if isinstance(record.vector, list) and record.vector else None
    return StoredPoint(UUID(str(record.id)), PointPayload.model_validate(record.payload), vector)


def vector_page(records: Sequence[models.Record], dimension: int, cursor: str | None) -> VectorPage:
    """The points that have a vector, with their versions."""
    found = [
        (UUID(str(record.id)), int(record.payload["version"]), record.vector)
        for record in records
        if isinstance(record.vector, list) and record.vector and record.payload and "version" in record.payload
    ]
    ids, versions, vectors = zip(*found, strict=True) if found else ((), (), ())
    return VectorPage(ids, versions, np.asarray(vectors, dtype=np.float32).reshape(-1, dimension), cursor)
