"""Images in base64. Large ones are decoded in a thread, so that nobody else's search waits for it."""

import asyncio
import base64
import binascii

from services.search.problems import bad_parameter

AT_ONCE = 256 * 1024
"""Characters; about 2 ms. A call of the decoder lets no other thread run, so a thread must make many short ones."""


async def decode_base64(text: str, field: str) -> bytes:
    """The bytes of an image in base64, or in a `data:` URL. Raises `Problem` 422 naming the field."""
    start = text.find(",") + 1 if text.startswith("data:") else 0
    try:
        if len(text) <= AT_ONCE:
            data = _decoded(text, start)
        else:
            data = await asyncio.to_thread(_decoded, text, start)
    except (binascii.Error, ValueError) as error:
        raise bad_parameter(field, f"it is no base64: {error}") from None
    if not data:
        raise bad_parameter(field, "it is empty")
    return data


def _decoded(text: str, start: int) -> bytes:
    pieces: list[bytes] = []
    rest, padded = "", False
    for at in range(start, len(text), AT_ONCE):
        # MIME breaks base64 into lines; any other stray character means that it is no base64 at all.
        piece = rest + "".join(text[at : at + AT_ONCE].split())
        if padded and piece:
            raise ValueError("Excess data after padding")
        last = at + AT_ONCE >= len(text)
        whole = len(piece) if last else len(piece) - len(piece) % 4
        pieces.append(base64.b64decode(piece[:whole], validate=True))
        padded, rest = piece.endswith("=", 0, whole), piece[whole:]
    return b"".join(pieces)
