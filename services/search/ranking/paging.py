"""Pages through an ordered list that may change between them, without any state kept for the client.

A cursor is the place of the last result: what it was ordered by, and its id. The next page is whatever then
comes after that place, so a result that comes or goes moves no other one onto two pages or onto none. It also
carries a digest of the query: a cursor of another query is refused, since its place would mean nothing there.
"""

import base64
import binascii
import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from services.search.problems import Problem, bad_parameter
from stores.vectors import Ranked

T = TypeVar("T")

Digest = bytes
"""DIGEST_BYTES that stand for a query and its conditions."""

DIGEST_BYTES = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SCORE, _DATE, _UNDATED = b"s", b"d", b"u"
_PLACE = struct.Struct(">8sHc8s16s")
_CHECKSUM = struct.Struct(">I")


@dataclass(frozen=True)
class Place:
    """Where a page ended: the score or the date of its last result (None where it has no date), and its id.

    `depth` is how many results came up to there; a hint of how far to look, and no more.
    """

    value: float | datetime | None
    id: UUID
    depth: int = 0


def digest_of(*parts: object) -> Digest:
    """A digest of a query by the representation of its parts, which must be values: strings, dataclasses of such."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()[:DIGEST_BYTES]


def cursor_of(place: Place, digest: Digest) -> str:
    """The cursor of a page that ended there; safe in an address line."""
    if place.value is None:
        kind, value = _UNDATED, bytes(8)
    elif isinstance(place.value, datetime):
        kind, value = _DATE, struct.pack(">q", (place.value - _EPOCH) // _MICROSECOND)
    else:
        kind, value = _SCORE, struct.pack(">d", place.value)
    return _written(_PLACE.pack(digest, min(place.depth, 0xFFFF), kind, value, place.id.bytes))


def place_of(cursor: str | None, digest: Digest, *, by_date: bool) -> Place | None:
    """The place that a cursor stands for; None without one. Raises `Problem` 422 for one of another query."""
    if cursor is None:
        return None
    try:
        of, depth, kind, value, id_bytes = _PLACE.unpack(_read(cursor))
    except struct.error:
        raise foreign_cursor() from None
    if of != digest or (kind == _SCORE) is by_date:
        raise foreign_cursor()
    point = UUID(bytes=id_bytes)
    if kind == _SCORE:
        return Place(struct.unpack(">d", value)[0], point, depth)
    return Place(None if kind == _UNDATED else _EPOCH + struct.unpack(">q", value)[0] * _MICROSECOND, point, depth)


def wrapped(cursor: str, digest: Digest) -> str:
    """A cursor of the index's own, as one that knows its query."""
    return _written(digest + cursor.encode())


def unwrapped(cursor: str, digest: Digest) -> str:
    """The cursor of the index's own. Raises `Problem` 422 for one of another query."""
    data = _read(cursor)
    if data[:DIGEST_BYTES] != digest:
        raise foreign_cursor()
    try:
        return data[DIGEST_BYTES:].decode("ascii")
    except UnicodeDecodeError:
        raise foreign_cursor() from None


def after(place: Place | None, ranked: Sequence[Ranked]) -> Sequence[Ranked]:
    """The results that come after a place in the order of scores, ties in that of ids."""
    if place is None or not isinstance(place.value, float):
        return ranked
    # The very result the place was taken from is left out by its id as well: a model that embeds the words again
    # for this page, in a batch of another size, may score it in another last digit.
    return [one for one in ranked if (-one.score, one.id) > (-place.value, place.id) and one.id != place.id]


def after_date(place: Place | None, dated: Sequence[tuple[datetime | None, UUID, T]], *, newest_first: bool) -> list[T]:
    """Of results with their dates and ids, in order, those that come after a place."""
    if place is None:
        return [one for _, _, one in dated]
    date_passed = place.value if isinstance(place.value, datetime) else None
    passed = date_order(date_passed, place.id, newest_first=newest_first)
    return [one for date, point, one in dated if date_order(date, point, newest_first=newest_first) > passed]


def date_order(date: datetime | None, point: UUID, *, newest_first: bool) -> tuple[bool, int, UUID]:
    """The key that orders results by date: those without one come last, ties go by id."""
    microseconds = 0 if date is None else (date - _EPOCH) // _MICROSECOND
    return date is None, -microseconds if newest_first else microseconds, point


def foreign_cursor() -> Problem:
    """The problem of a cursor that does not belong to the query that it came with."""
    return bad_parameter(
        "cursor",
        "it is no cursor of this query; send it with the query, conditions and order of the page that answered it, "
        "or leave it out to begin with the first page",
    )


def _written(data: bytes) -> str:
    return base64.urlsafe_b64encode(data + _CHECKSUM.pack(zlib.crc32(data))).decode().rstrip("=")


def _read(cursor: str) -> bytes:
    try:
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise foreign_cursor() from None
    data, checksum = decoded[: -_CHECKSUM.size], decoded[-_CHECKSUM.size :]
    if checksum != _CHECKSUM.pack(zlib.crc32(data)):
        raise foreign_cursor()
    return data
