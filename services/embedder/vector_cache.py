"""What was embedded lately, by content: the same bytes need no second forward pass."""

from collections import OrderedDict

from encoders.engine import EncodedImage


class VectorCache:
    """The last `entries` results by SHA-256 of the bytes, for one encoder; the least recently used goes first.

    One entry of a 512-d encoder takes about 3 kB.
    """

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._kept: OrderedDict[str, EncodedImage] = OrderedDict()

    def get(self, sha256: str) -> EncodedImage | None:
        """What these bytes gave, if it is still kept."""
        found = self._kept.get(sha256)
        if found is not None:
            self._kept.move_to_end(sha256)
        return found

    def put(self, sha256: str, encoded: EncodedImage) -> None:
        """Keep a result."""
        self._kept[sha256] = encoded
        self._kept.move_to_end(sha256)
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)
