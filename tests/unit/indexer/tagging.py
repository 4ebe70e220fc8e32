"""Tags without a model: the axis that a vector is nearest to."""

from collections.abc import Sequence

import numpy as np

from schemas.events import Tag
from stores.vectors import Vector, Vectors
from tests.unit.stores.index_points import DIMENSION


def axis(number: int) -> Vector:
    """One of the unit vectors that every store keeps to the last bit."""
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[number % DIMENSION] = 1
    return vector


def axis_tags(vector: Vector, words: str) -> tuple[Tag, ...]:
    """What `AxisTagging` answers for one vector."""
    return (Tag(tag=f"{words} {int(np.argmax(vector))}", score=float(vector.max())),)


class AxisTagging:
    """Every vocabulary has words of its own, so that its tags are told from another's."""

    def __init__(self, words: str) -> None:
        self.words = words
        self.version = f"version of {words}"
        self.rows = 0

    def tags(self, vectors: Vectors) -> Sequence[tuple[Tag, ...]]:
        self.rows += len(vectors)
        return [axis_tags(vector, self.words) for vector in vectors]
