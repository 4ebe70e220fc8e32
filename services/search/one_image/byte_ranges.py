"""Conditional and partial requests (RFC 9110): which bytes are asked for, and whether the asker has them already."""

import re

_RANGE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)", re.IGNORECASE | re.ASCII)


class Unsatisfiable(Exception):
    """The range lies beyond the end."""


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and number of bytes of a `Range`; None for all of `size`.

    Several ranges at once, other units and what is no range at all are answered with everything, as the RFC allows.
    Raises `Unsatisfiable`.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or (not match[1] and not match[2]) or max(len(match[1]), len(match[2])) > 18:
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        if length == 0:
            raise Unsatisfiable
        return size - length, length
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return first, min(last, size - 1) - first + 1


def has_already(if_none_match: str | None, tag: str) -> bool:
    """Whether `If-None-Match` names this entity tag (with its quotes), or any; weak comparison."""
    if if_none_match is None:
        return False
    tags = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return tag in tags or tags == ["*"]
