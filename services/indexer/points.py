"""A judgement to a point, with the checks that keep nonsense out of the index."""

from datetime import datetime

import numpy as np

from runtime.stage import Reject
from schemas.collection import payload_of
from schemas.dead_letter import RejectReason
from schemas.events import EncoderIdentity, ImageEmbedded, Judgement
from stores.vectors import Point

NORM_TOLERANCE = 0.01
"""A unit vector's length may differ from 1 by this much; bf16 rounding stays well below."""


def point_of(judgement: Judgement, expected: EncoderIdentity, *, indexed_at: datetime) -> Point | Reject:
    """The point to write, or why it must not be written.

    A vector must be of the collection's encoder, finite and of unit length: Qdrant Edge stores NaN
    without a word, and the cosine distance turns infinities into NaN.
    """
    if judgement.encoder != expected:
        return Reject(
            RejectReason.FOREIGN_ENCODER,
            f"{judgement.partition_key} was judged by {judgement.encoder.model} ({judgement.encoder.fingerprint}, "
            f"{judgement.encoder.dimension}-d), the collection holds {expected.model} ({expected.fingerprint}, "
            f"{expected.dimension}-d); run embedder and indexer with the same model, then reconcile",
        )
    payload = payload_of(judgement, indexed_at=indexed_at)
    if not isinstance(judgement, ImageEmbedded):
        return Point(judgement.point_id, payload)
    vector = np.frombuffer(judgement.vector, dtype="<f4").astype(np.float32, copy=False)
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or abs(norm - 1) > NORM_TOLERANCE:
        return Reject(
            RejectReason.INVALID_VECTOR,
            f"{judgement.partition_key}: the vector's length is {norm:.4g}, not 1; the encoder is at fault",
        )
    return Point(judgement.point_id, payload, vector)
