"""The cursor of a scroll: the id of the first point of the next page, made opaque so that nobody builds on it."""

import base64
import binascii
import zlib
from uuid import UUID

_CHECKSUM_BYTES = 4


def cursor_at(next_id: UUID | None) -> str | None:
    """The cursor of a page whose successor begins at `next_id`; None on the last page."""
    if next_id is None:
        return None
    return base64.urlsafe_b64encode(next_id.bytes + _checksum(next_id.bytes)).decode().rstrip("=")


def next_id_of(cursor: str | None) -> UUID | None:
    """The id that a cursor stands for. Raises `ValueError` for a string that no scroll answered."""
    if cursor is None:
        return None
    try:
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    value, checksum = decoded[:16], decoded[16:]
    if len(value) != 16 or checksum != _checksum(value):
        raise ValueError(f"{cursor[:40]!r} is no cursor of this index; use one that a page answered, or none")
    return UUID(bytes=value)


def _checksum(value: bytes) -> bytes:
    return zlib.crc32(value).to_bytes(_CHECKSUM_BYTES, "big")
