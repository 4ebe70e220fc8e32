"""Messages between `stores.edge` and its process: a length (uint32, little-endian), then as many bytes of MessagePack.

A request is `{"op": name, ...}`; its answer `{"ok": value}` or `{"error": kind, "detail": sentence}`. Answers
come in the order of the requests. Ids are 16 bytes, vectors native float32 bytes, times ISO 8601 in UTC.
This module is light: the child imports neither numpy nor pydantic, and starts in a fraction of a second.
"""

import struct
from collections.abc import Iterator
from typing import Any

import msgpack

LENGTH = struct.Struct("<I")

UNAVAILABLE = "unavailable"
"""The disk or the engine failed; the same request may succeed later."""
CONFIGURATION = "configuration"
"""The index cannot be opened as things are; the detail says why and what to do."""
BUG = "bug"
"""Anything else."""


def pack_value(value: Any) -> bytes:
    """A value by itself, for whoever may not need to read it."""
    packed: bytes = msgpack.packb(value)
    return packed


def unpack_value(packed: bytes) -> Any:
    """The value that `pack_value` packed."""
    return msgpack.unpackb(packed)


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
