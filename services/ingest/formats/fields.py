"""JSON that nobody can be trusted to have written well: parsed within bounds, and read field by field.

Of duplicate names the last counts, as everywhere in Python; NaN and the infinities are no JSON and are refused.
"""

import json
from datetime import UTC, datetime
from typing import NoReturn

from schemas.dead_letter import RejectReason
from schemas.errors import UndecodableRecord

MOST_CLAIMED = 1024
"""Characters of a claimed field that are kept; what is longer is no ETag, version or sequencer."""

_LARGEST_SIZE = 2**63 - 1


def parse(text: bytes | str) -> object:
    """The JSON value in `text`, in linear time. Raises `UndecodableRecord`."""
    try:
        if isinstance(text, bytes):
            # json.loads would guess UTF-16 and UTF-32 too, which no store writes.
            text = text.decode("utf-8-sig")
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise UndecodableRecord(RejectReason.NOTIFICATION_TOO_DEEP, "the JSON nests too deeply to be read") from None
    except ValueError as error:  # JSON, UTF-8, and integers of more than 4300 digits
        raise UndecodableRecord(RejectReason.MALFORMED_RECORD, f"not JSON: {printable(str(error))}") from None


def member(value: object, *path: str) -> object:
    """What `path` leads to, or None where a step is no object or has no such member."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def text_of(value: object, *, most: int = MOST_CLAIMED) -> str | None:
    """`value` where it is text of at most `most` characters that UTF-8 can carry (no lone surrogates), else None."""
    if not isinstance(value, str) or len(value) > most:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def size_of(value: object) -> int | None:
    """A size in bytes, written as a number or, by Ceph, as text; None where it is neither."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_SIZE:
        return value
    return None


def time_of(value: object) -> datetime | None:
    """An ISO 8601 time in UTC: seconds, milliseconds or microseconds, any zone; UTC where it names none."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def printable(value: object, *, most: int = 80) -> str:
    """`value` for a sentence: ASCII, escaped, of at most `most` characters."""
    # Cut first: escaping a megabyte to show 80 characters of it would be a gift to whoever sent it.
    if not isinstance(value, str | int | float | None):
        return f"<{type(value).__name__}>"
    if isinstance(value, int) and value.bit_length() > 256:
        return "<a huge number>"
    return ascii(value[:most] if isinstance(value, str) else value)[:most].strip("'")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
