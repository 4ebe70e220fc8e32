"""A bound on the bytes of objects in memory, whose sizes are known only once they have been read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Place:
    """One object's share of the room. `size` is what is reserved for it, in bytes."""

    def __init__(self, size: int) -> None:
        self.size = size


class ByteRoom:
    """Lets objects in while what is reserved stays below `most` bytes; one alone always gets in.

    An object is expected to be as large as the largest of the last few. The room opens with an
    expectation of an eighth of itself, so that the first objects of a bucket of large files cannot
    all come at once; small ones bring the expectation down by a tenth each.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._expected = most // 8
        self._reserved = 0
        self._places = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        """Wait for room for one object, and keep it for as long as the object is in memory."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._places == 0 or self._reserved + self._expected <= self._most)
            place = Place(self._expected)
            self._reserved += place.size
            self._places += 1
        try:
            yield place
        finally:
            async with self._changed:
                self._reserved -= place.size
                self._places -= 1
                self._changed.notify_all()

    async def measured(self, place: Place, size: int) -> None:
        """The object turned out to have so many bytes."""
        async with self._changed:
            self._reserved += size - place.size
            place.size = size
            self._expected = max(size, self._expected * 9 // 10)
            self._changed.notify_all()
