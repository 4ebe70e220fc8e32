"""An object's bytes read piece by piece, so that a slow look is seen to move."""

from collections.abc import Iterable
from io import BytesIO

from stores.objects import Flowed


def whole(pieces: Iterable[bytes], flowed: Flowed) -> bytes:
    """All pieces as one, each told as it comes."""
    # Unlike a list that is joined, it does not hold everything twice: what it gives away is its own memory.
    data = BytesIO()
    for piece in pieces:
        flowed(len(piece))
        data.write(piece)
    return data.getvalue()
