"""What several shards answer, as one answer."""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

import numpy as np

from stores.cursor import cursor_at
from stores.vectors import FacetCount, VectorPage

T = TypeVar("T")

FACET_SLACK = 1000
FACET_GROWTH = 100
"""Values beyond the limit that each shard is asked for, and how many times as many where these do not tell. Each shard
goes through all of its values every time, so few steps are better than small ones.
"""


def share_of(limit: int, shards: int) -> int:
    """How many of the first `limit` points in some order one shard nearly always has no more than.

    Points fall to shards by ids that are hashes, and twice the square root of the mean is two standard deviations of
    that at least: 2.8 for two shards.
    """
    mean = limit / shards
    return min(limit, math.ceil(mean + 2 * math.sqrt(mean)))


async def merged(
    ask: Callable[[int], Awaitable[Sequence[Sequence[T]]]], limit: int, shards: int, key: Callable[[T], Any]
) -> list[T]:
    """The first `limit` by `key` of all shards, each of which answers its first ones in that order: `ask` asks all.

    Each is asked for its share, and where one that gave all of it may have more among the first, for as many as there
    are to be.
    """
    asked = share_of(limit, shards)
    while True:
        found = await ask(asked)
        first = list(islice(heapq.merge(*found, key=key), limit))
        full = [several[-1] for several in found if len(several) == asked]
        if asked == limit or not full or (len(first) == limit and min(map(key, full)) >= key(first[-1])):
            return first
        asked = limit


def merged_vectors(pages: Sequence[VectorPage], end: UUID | None, limit: int) -> VectorPage:
    """One page in the order of ids, of what comes before `end`: there the next one begins, or at the first left out."""
    pages = [page for page in pages if page.ids] or pages[:1]
    every = sorted(
        (one, at, row) for at, page in enumerate(pages) for row, one in enumerate(page.ids) if end is None or one < end
    )
    following = every[limit][0] if len(every) > limit else end
    every = every[:limit]
    starts = np.cumsum([0, *(len(page.ids) for page in pages)])
    rows = [int(starts[at]) + row for _, at, row in every]
    return VectorPage(
        [one for one, _, _ in every],
        [pages[at].versions[row] for _, at, row in every],
        np.concatenate([page.vectors for page in pages])[rows],
        cursor_at(following),
    )


class FacetMerge:
    """The most frequent values, whose counts are sums, from the most frequent ones of each shard."""

    def __init__(self, limit: int, shards: int) -> None:
        self._limit = limit
        self.asked = limit if shards == 1 else limit + FACET_SLACK
        """How many values each shard is to be asked for now."""

    def best(self, counts: Sequence[Sequence[tuple[str, int]]]) -> list[FacetCount] | None:
        """The values with their exact counts; None where each shard must first be asked for more.

        A shard that answered as many as it was asked for may have others, each of them as often as its last at most.
        """
        asked, self.asked = self.asked, FACET_GROWTH * self.asked
        unnamed = [several[-1][1] if len(several) == asked else 0 for several in counts]
        if len(counts) == 1:
            unnamed = [0]
        sums: Counter[str] = Counter()
        named: dict[str, int] = defaultdict(int)
        """How many of the uncertain counts are certain for a value, since its shard named it."""
        for several, last in zip(counts, unnamed, strict=True):
            for value, count in several:
                sums[value] += count
                named[value] += last
        every = sorted(sums.items(), key=lambda one: (-one[1], one[0]))
        best, rest = every[: self._limit], every[self._limit :]
        if possible := sum(unnamed):
            if len(best) < self._limit or any(named[value] < possible for value, _ in best):
                return None
            others = max((count + possible - named[value] for value, count in rest), default=0)
            if max(others, possible) >= best[-1][1]:
                return None
        return [FacetCount(value, count) for value, count in best]
