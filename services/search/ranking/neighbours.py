"""Who is near to whom: vectors compared with all of an index, in steps between which searches are answered."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import numpy as np

from stores.vectors import VectorIndex, Vectors, Where

STREAMED = 200_000
"""Images up to which all vectors are read for every block; beyond, the index is asked for each image of a small one."""

READ_CHUNK = 1000
WORK = 3e10
"""Multiplications for one block: about a second on two cores."""

BLOCK_LEAST, BLOCK_MOST = 32, 2048
NEIGHBOURS = 1001
"""How many are kept of each image, least ids first (where the index is asked: nearest first)."""


class Neighbours:
    """Finds images whose cosine is at least `least`. Every method may raise `DependencyUnavailable`."""

    def __init__(self, index: VectorIndex, least: float) -> None:
        self._index = index
        self._count: int | None = None
        self.least = least

    async def block_size(self) -> int:
        """How many images to ask for at once."""
        metadata = await self._index.metadata()
        count = await self._counted()
        if metadata is None or count > STREAMED:
            return BLOCK_LEAST
        return int(min(BLOCK_MOST, max(BLOCK_LEAST, WORK / max(1, count * metadata.encoder.dimension))))

    async def of(self, vectors: Vectors, *, below: UUID | None = None) -> list[list[UUID]]:
        """For each of the vectors (n, dimension) the ids of its neighbours in order, itself among them.

        With `below` those that are not greater may be all.
        """
        if not len(vectors):
            return []
        if await self._counted() > STREAMED:
            return [await self._asked(vector) for vector in vectors]
        found: list[list[UUID]] = [[] for _ in vectors]
        cursor: str | None = None
        while True:
            page = await self._index.scroll_vectors(Where(), limit=READ_CHUNK, cursor=cursor)
            if len(page.ids):
                await asyncio.to_thread(self._add, found, vectors, page.ids, page.vectors)
            cursor = page.cursor
            if cursor is None or (below is not None and len(page.ids) and page.ids[-1] > below):
                return found

    def _add(self, found: list[list[UUID]], vectors: Vectors, ids: Sequence[UUID], others: Vectors) -> None:
        rows, columns = np.nonzero(vectors @ others.T >= self.least)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if len(found[row]) < NEIGHBOURS:
                found[row].append(ids[column])

    async def _asked(self, vector: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> list[UUID]:
        ranked = await self._index.rank(vector, limit=NEIGHBOURS, threshold=self.least)
        return sorted(one.id for one in ranked)

    async def _counted(self) -> int:
        if self._count is None:
            self._count = await self._index.count(Where())
        return self._count
