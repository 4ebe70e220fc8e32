"""What every index does alike, before anything leaves the process."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

import numpy as np

from schemas.events import EncoderIdentity
from stores.vectors import Fate, NewTags, Point, Vector

T = TypeVar("T")


def newest_of_each(points: Iterable[Point]) -> list[Point]:
    """The points without those that a higher version of the same id, or a later one of the same version, replaces."""
    newest: dict[UUID, Point] = {}
    for point in points:
        known = newest.get(point.id)
        if known is None or point.payload.version >= known.payload.version:
            newest[point.id] = point
    return list(newest.values())


def fate(version: int, status: str, etag: str | None, before: Mapping[str, Any] | None) -> Fate:
    """What becomes of a point, by the payload that was stored under its id before it was written; None for none."""
    if before is None or "version" not in before:
        return Fate.CHANGED
    if before["version"] > version:
        return Fate.STALE
    if before["version"] == version:
        return Fate.AGAIN
    return Fate.SAME if (before.get("status"), before.get("etag")) == (status, etag) else Fate.CHANGED


def fates(points: Sequence[Point], written: Mapping[UUID, Fate]) -> list[Fate]:
    """A fate for each point offered, from those of the points that `newest_of_each` left, by id."""
    newest = {point.id: point for point in newest_of_each(points)}

    def one(point: Point) -> Fate:
        kept = newest[point.id]
        if point is kept:
            return written[point.id]
        return Fate.STALE if point.payload.version < kept.payload.version else Fate.AGAIN

    return [one(point) for point in points]


def checked_vector(vector: Vector, dimension: int, owner: str) -> Vector:
    """The vector as contiguous float32 of shape (dimension,).

    Raises `ValueError` for another shape, and for NaN or infinity: Qdrant Edge stores them without a word.
    `owner` names the point or query in that sentence.
    """
    checked = np.ascontiguousarray(vector, dtype=np.float32)
    if checked.shape != (dimension,):
        raise ValueError(f"the vector of {owner} has the shape {checked.shape}; the collection's have ({dimension},)")
    if not np.isfinite(checked).all():
        raise ValueError(f"the vector of {owner} holds NaN or infinity; nothing was sent to the index")
    return checked


def least_score(threshold: float | None) -> tuple[float | None, float]:
    """A bound for the engine, and the exact one for its answers.

    Qdrant answers scores above its `score_threshold`, ours are to be at least the threshold: the engine is
    asked for a float32 lower, and the answers are compared again.
    """
    if threshold is None:
        return None, float("-inf")
    exact = np.float32(threshold)
    return float(np.nextafter(exact, np.float32("-inf"))), float(exact)


def positive(limit: int) -> int:
    """The limit. Raises `ValueError` when it is less than 1."""
    if limit < 1:
        raise ValueError(f"a limit of {limit} asks for nothing; ask for 1 or more")
    return limit


def chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """The items in order, in lists of at most `size`."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def tags_payload(news: NewTags) -> dict[str, Any]:
    """The fields of the payload that new tags change, as JSON values."""
    return {
        "tags": [{"tag": one.tag, "score": one.score} for one in news.tags],
        "tags_version": news.tags_version,
    }


def foreign(collection: str, stored: EncoderIdentity | None, wanted: EncoderIdentity) -> str:
    """The sentence for a collection that another encoder made."""
    made_for = f"{stored.model} ({stored.fingerprint}, {stored.dimension} numbers)" if stored else "something else"
    return (
        f"{collection} was made for {made_for}, and this process runs {wanted.model} ({wanted.fingerprint}, "
        f"{wanted.dimension} numbers): their vectors cannot be mixed. Run the encoder that made it, or move it away "
        "and have the bucket indexed anew"
    )


def fates_between(
    points: Sequence[Point], before: Mapping[UUID, Mapping[str, Any]], after: Mapping[UUID, Mapping[str, Any]]
) -> dict[UUID, Fate]:
    """What became of points, from what was stored under their ids before the write and after it.

    Another writer's higher version may have come between the first read and the write.
    """
    written: dict[UUID, Fate] = {}
    for point in points:
        version = point.payload.version
        overtaken = after.get(point.id, {}).get("version", version) > version
        told = fate(version, point.payload.status.value, point.payload.etag, before.get(point.id))
        written[point.id] = Fate.STALE if overtaken else told
    return written
