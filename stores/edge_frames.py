"""Messages between `stores.edge` and its process: a length (uint32, little-endian), then as many bytes of MessagePack.

A request is `{"op": name, ...}`; its answer `{"ok": value}` or `{"error": kind, "detail": sentence}`. Answers
come in the order of the requests. Ids are 16 bytes, vectors native float32 bytes, times ISO 8601 in UTC.
"""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgpack

from stores.vectors import Where

LENGTH = struct.Struct("<I")

UNAVAILABLE = "unavailable"
"""The disk or the engine failed; the same request may succeed later."""
CONFIGURATION = "configuration"
"""The index cannot be opened as things are; the detail says why and what to do."""
BUG = "bug"
"""Anything else."""


def pack(message: dict[str, Any]) -> bytes:
    """A message as one frame."""
    body: bytes = msgpack.packb(message)
    return LENGTH.pack(len(body)) + body


def unpack(body: bytes) -> dict[str, Any]:
    """The message of a frame's body."""
    message: dict[str, Any] = msgpack.unpackb(body)
    return message


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The messages that these bytes complete."""
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            end = LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[LENGTH.size : end])
            del self._buffer[:end]
            yield unpack(body)


def where_on_wire(where: Where) -> dict[str, Any]:
    """The conditions that are set, as MessagePack can carry them."""
    wire: dict[str, Any] = {
        "status": where.status.value if where.status else None,
        "source": where.source,
        "bucket": where.bucket,
        "prefix": where.prefix or None,
        "taken_at": _span(where.taken_after, where.taken_before),
        "uploaded_at": _span(where.uploaded_after, where.uploaded_before),
        "without": [one.bytes for one in where.without] or None,
    }
    return {name: value for name, value in wire.items() if value is not None}


def _span(after: datetime | None, before: datetime | None) -> list[str | None] | None:
    if after is None and before is None:
        return None
    return [moment.astimezone(UTC).isoformat() if moment else None for moment in (after, before)]
