"""Tagging anew from stored vectors: no image is read.

Pages are read, tagged and written side by side, so that neither the index nor the processor waits for the other.
Each image's new tags are written only onto the look that its vector came from: an image that is overwritten
meanwhile keeps the tags that came with it, and one that is gone stays gone.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from schemas.events import Tag
from stores.vectors import NewTags, VectorIndex, VectorPage, Vectors, Where

PAGE = 1000
"""Images that are tagged together: 2 MB of vectors at 512 dimensions."""
WRITES = 2
"""Pages that are being written at a time: while the answer for one part travels, the index works on another."""
PASSES = 3
"""How often to look for images that were indexed meanwhile with other tags."""


class Tagging(Protocol):
    """Tags for vectors; `encoders.tagger` is one."""

    version: str
    """Equal only where the same vector gets the same tags."""

    def tags(self, vectors: Vectors) -> Sequence[tuple[Tag, ...]]:
        """The tags of each row of unit vectors of shape (n, d); called in a thread."""
        ...


@dataclass(frozen=True)
class Progress:
    """Images whose tags were computed anew and offered to the index, of how many were found at the start."""

    done: int
    total: int


@dataclass(frozen=True)
class Retagged:
    """What a run did. `left`: images that still have other tags, because something goes on making them."""

    images: int
    seconds: float
    left: int


@dataclass(frozen=True)
class Change:
    """What a run would do to one image."""

    bucket: str
    key: str
    before: tuple[Tag, ...]
    after: tuple[Tag, ...]


class Retagger:
    """Tags the images of an open index anew: those whose tags are of another version, or all of them.

    Stopped at any point, the next run does what this one left, unless it is told to do `everything`. Several
    writers may be at work meanwhile.
    """

    def __init__(self, index: VectorIndex, tagging: Tagging, *, everything: bool = False) -> None:
        self._index = index
        self._tagging = tagging
        self._outdated = Where(tags_not_of=tagging.version)
        self._chosen = Where() if everything else self._outdated

    async def outdated(self) -> int:
        """How many images have tags of another version, or none."""
        return await self._index.count(self._outdated)

    async def sample(self, most: int = 5) -> list[Change]:
        """What a run would change, for up to `most` images; writes nothing."""
        found = await self._index.scroll(self._chosen, limit=most, with_vectors=True)
        points = [(point, point.vector) for point in found.points if point.vector is not None]
        after = [(await self._tagged(vector[None]))[0] for _, vector in points]
        return [
            Change(point.payload.bucket, point.payload.key, point.payload.tags, tags)
            for (point, _), tags in zip(points, after, strict=True)
        ]

    async def run(self, told: Callable[[Progress], None] = lambda _: None) -> Retagged:
        """Tag anew; `told` is called on the event loop as it goes. Raises `DependencyUnavailable`."""
        started = time.monotonic()
        total = await self._index.count(self._chosen)
        done = 0
        where = self._chosen
        for _ in range(PASSES):
            async with aclosing(self._written(where)) as written:
                told(Progress(done, max(total, done)))
                async for images in written:
                    done += images
                    told(Progress(done, max(total, done)))
            left = await self.outdated()
            if not left:
                break
            where = self._outdated
        return Retagged(done, time.monotonic() - started, left)

    async def _written(self, where: Where) -> AsyncGenerator[int, None]:
        """The number of images of each page once it is written."""
        writing: deque[asyncio.Task[int]] = deque()
        try:
            async with aclosing(self._computed(where)) as computed:
                async for news in computed:
                    writing.append(asyncio.create_task(self._write(news)))
                    while len(writing) > WRITES:
                        yield await writing.popleft()
                while writing:
                    yield await writing.popleft()
        finally:
            await _cancelled(*writing)

    async def _computed(self, where: Where) -> AsyncGenerator[list[NewTags], None]:
        """The new tags, a page at a time; the next page is read meanwhile."""
        version = self._tagging.version
        following = self._read(where, None)
        try:
            while True:
                page = await following
                if page.cursor is not None:
                    following = self._read(where, page.cursor)
                if page.ids:
                    tags = await self._tagged(page.vectors)
                    yield [
                        NewTags(point_id, look, several, version)
                        for point_id, look, several in zip(page.ids, page.versions, tags, strict=True)
                    ]
                if page.cursor is None:
                    return
        finally:
            await _cancelled(following)

    def _read(self, where: Where, cursor: str | None) -> "asyncio.Task[VectorPage]":
        return asyncio.create_task(self._index.scroll_vectors(where, limit=PAGE, cursor=cursor))

    async def _tagged(self, vectors: Vectors) -> Sequence[tuple[Tag, ...]]:
        return await asyncio.to_thread(self._tagging.tags, vectors)

    async def _write(self, news: Sequence[NewTags]) -> int:
        await self._index.set_tags(news)
        return len(news)


async def _cancelled(*tasks: "asyncio.Task[int] | asyncio.Task[VectorPage]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
