"""Which collection is read: its identity, asked for now and then."""

import time
from collections.abc import Callable

from schemas.collection import CollectionMetadata
from stores.vectors import VectorIndex

RECHECK_SECONDS = 60.0
"""How long the collection's identity is believed: readers follow an alias, which may be moved under them."""


class Collection:
    """The identity of an index's collection."""

    def __init__(self, index: VectorIndex, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._index = index
        self._clock = clock
        self._known: tuple[float, CollectionMetadata] | None = None

    async def metadata(self) -> CollectionMetadata | None:
        """What the collection was made for, as it was within the last minute; None while there is none.

        Raises `DependencyUnavailable`.
        """
        now = self._clock()
        if self._known is not None and now - self._known[0] < RECHECK_SECONDS:
            return self._known[1]
        metadata = await self._index.metadata()
        self._known = None if metadata is None else (now, metadata)
        return metadata
