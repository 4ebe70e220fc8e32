from datetime import UTC, datetime

import numpy as np
import pytest

from runtime.stage import Reject
from schemas.collection import Status
from schemas.dead_letter import RejectReason
from schemas.events import EncoderIdentity, ImageEmbedded, ImageFacts, ImageGone, ObjectFacts
from services.indexer.points import point_of
from stores.vectors import Point

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ENCODER = EncoderIdentity(model="m", fingerprint="w-p-fp32", dimension=3)


def embedded(vector: list[float], encoder: EncoderIdentity = ENCODER) -> ImageEmbedded:
    return ImageEmbedded(
        source="s3",
        bucket="b",
        key="k.jpg",
        version=5,
        encoder=encoder,
        received_at=NOW,
        object=ObjectFacts(etag="e", size=1, modified_at=NOW),
        image=ImageFacts(width=1, height=1, format="jpeg"),
        sha256="0" * 64,
        vector=np.array(vector, "<f4").tobytes(),
    )


def test_a_judged_image_becomes_a_point_with_its_vector() -> None:
    point = point_of(embedded([0.6, 0.8, 0.0]), ENCODER, indexed_at=NOW)
    assert isinstance(point, Point)
    assert point.vector is not None
    assert np.allclose(point.vector, [0.6, 0.8, 0.0])
    assert (point.payload.status, point.payload.version) == (Status.INDEXED, 5)


@pytest.mark.parametrize(
    "vector",
    [[float("nan"), 0, 1], [float("inf"), 0, 0], [0, 0, 0], [0.9, 0, 0], [2, 0, 0]],
    ids=["nan", "inf", "zero", "short", "long"],
)
def test_a_vector_that_is_not_of_unit_length_never_reaches_the_index(vector: list[float]) -> None:
    rejected = point_of(embedded(vector), ENCODER, indexed_at=NOW)
    assert isinstance(rejected, Reject)
    assert rejected.reason is RejectReason.INVALID_VECTOR


@pytest.mark.parametrize("fingerprint", ["w-p-bf16", "other-p-fp32"])
def test_another_encoder_is_refused_by_name(fingerprint: str) -> None:
    foreign = ENCODER.model_copy(update={"fingerprint": fingerprint})
    rejected = point_of(embedded([1, 0, 0], foreign), ENCODER, indexed_at=NOW)
    assert isinstance(rejected, Reject)
    assert rejected.reason is RejectReason.FOREIGN_ENCODER
    assert fingerprint in rejected.detail


def test_a_gone_object_keeps_its_version_and_has_no_vector_and_no_etag() -> None:
    gone = ImageGone(source="s3", bucket="b", key="k", version=9, encoder=ENCODER, received_at=NOW)
    point = point_of(gone, ENCODER, indexed_at=NOW)
    assert isinstance(point, Point)
    assert point.vector is None
    assert (point.payload.status, point.payload.version, point.payload.etag) == (Status.GONE, 9, None)
