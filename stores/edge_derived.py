"""Numbers that are kept with each point on Edge so that two kinds of condition need neither payloads nor texts.

`key_starts`: a number for each beginning of the key by which people ask: every folder, and the first
`START_CHARACTERS` of the name at each level. `tag_codes`: a number for each tag, whose high bits stand for the tag
and whose low bits for its score. Measured over 100,000 points: a prefix that holds for all took 190 ms by the key's
own index, a tag with a least score 22 ms (it reads the payload of every point with that tag); 7 ms and 0.6 ms so.
They never leave the Edge process, and nobody else writes them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

KEY_STARTS = "key_starts"
TAG_CODES = "tag_codes"
INDEXES = {KEY_STARTS: "integer_value", TAG_CODES: "integer_range"}
"""The fields with the kinds of their indexes (see `stores.edge_conversion.index_schema`)."""
START_CHARACTERS = 8
LEVELS = 8192
"""Steps of a tag's score; which side of the least score a point is within one step, its payload tells."""

_START_BITS = 52
_TAG_BITS = 40
"""A range is compared in float64: the number of a tag and its level together stay below 2^53."""


def derived(payload: Mapping[str, Any]) -> dict[str, list[int]]:
    """The fields to keep beside a payload of JSON values, for those of its fields that it has."""
    fields: dict[str, list[int]] = {}
    if "key" in payload:
        fields[KEY_STARTS] = key_starts(payload["key"])
    if "tags" in payload:
        fields[TAG_CODES] = tag_codes(payload["tags"])
    return fields


def without_derived(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload as it was written."""
    payload.pop(KEY_STARTS, None)
    payload.pop(TAG_CODES, None)
    return payload


def key_starts(key: str) -> list[int]:
    """The numbers of the beginnings of a key that can be asked for."""
    return [_number(key[:length], _START_BITS) for length in _lengths(key)]


def asked_start(prefix: str) -> tuple[int, bool]:
    """The number that every key with this prefix has, and whether every key that has it has the prefix."""
    length = max(_lengths(prefix))
    return _number(prefix[:length], _START_BITS), length == len(prefix)


def tag_codes(tags: Iterable[Mapping[str, Any]]) -> list[int]:
    """The numbers of tags with their scores."""
    return [_tag_base(one["tag"]) + _level(one["score"]) for one in tags]


def asked_codes(tag: str, least: float) -> tuple[int, int, int]:
    """Codes of the tag: from the first to below the second the score is perhaps, to below the third surely enough."""
    base = _tag_base(tag)
    if least <= 0:
        return base, base, base + LEVELS
    if least > 1:
        return base + LEVELS, base + LEVELS, base + LEVELS
    level = _level(least)
    # A level that begins exactly at the least score leaves no doubt.
    sure = level if level / LEVELS == least else level + 1
    return base + level, base + sure, base + LEVELS


def _lengths(text: str) -> list[int]:
    lengths = []
    level = 0
    for position, character in enumerate(text, start=1):
        if character == "/" or position - level <= START_CHARACTERS:
            lengths.append(position)
        if character == "/":
            level = position
    return lengths


def _level(score: float) -> int:
    return min(LEVELS - 1, max(0, int(score * LEVELS)))


def _tag_base(tag: str) -> int:
    return _number(tag, _TAG_BITS) * LEVELS


def _number(text: str, bits: int) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> (64 - bits)
