"""What several shards answer, as one answer."""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice
from uuid import UUID

import numpy as np

from stores.cursor import cursor_at
from stores.vectors import FacetCount, Ranked, VectorPage

FACET_SLACK = 1000
FACET_GROWTH = 8
"""Values beyond the limit that each shard is asked for, and how many times as many where these do not tell."""


def share_of(limit: int, shards: int) -> int:
    """How many of the best, or the first, `limit` points one shard nearly always has no more than.

    Points fall to shards by ids that are hashes: twice the square root of the mean is 2.8 standard deviations for two
    shards, and never less than two.
    """
    mean = limit / shards
    return min(limit, math.ceil(mean + 2 * math.sqrt(mean)))


def merged_ranking(rankings: Sequence[Sequence[Ranked]], limit: int) -> list[tuple[int, int]]:
    """The best of all, ties by id: of each the number of its ranking, and its place there."""
    every = [
        [(-one.score, one.id, at, number) for number, one in enumerate(ranking)] for at, ranking in enumerate(rankings)
    ]
    return [(at, number) for _, _, at, number in islice(heapq.merge(*every), limit)]


def merged_vectors(pages: Sequence[VectorPage], end: UUID | None) -> VectorPage:
    """One page in the order of ids, of what comes before `end`, with which the next one begins."""
    every = sorted(
        (one, at, row) for at, page in enumerate(pages) for row, one in enumerate(page.ids) if end is None or one < end
    )
    starts = np.cumsum([0, *(len(page.ids) for page in pages)])
    rows = [starts[at] + row for _, at, row in every]
    return VectorPage(
        [one for one, _, _ in every],
        [pages[at].versions[row] for _, at, row in every],
        np.concatenate([page.vectors for page in pages])[rows],
        cursor_at(end),
    )


class FacetMerge:
    """The most frequent values, whose counts are sums, from the most frequent ones of each shard."""

    def __init__(self, limit: int, shards: int) -> None:
        self._limit = limit
        self.asked = limit if shards == 1 else limit + FACET_SLACK
        """How many values each shard is to be asked for now."""

    def best(self, counts: Sequence[Sequence[FacetCount]]) -> list[FacetCount] | None:
        """The values with their exact counts; None where each shard must first be asked for more.

        A shard that answered as many as it was asked for may have others, each of them as often as its last at most.
        """
        asked, self.asked = self.asked, FACET_GROWTH * self.asked
        if len(counts) == 1:
            return list(counts[0])
        unnamed = [several[-1].count if len(several) == asked else 0 for several in counts]
        sums: Counter[str] = Counter()
        named: dict[str, int] = defaultdict(int)
        """How many of the uncertain counts are certain for a value, since its shard named it."""
        for several, last in zip(counts, unnamed, strict=True):
            for one in several:
                sums[one.value] += one.count
                named[one.value] += last
        every = sorted(sums.items(), key=lambda one: (-one[1], one[0]))
        best, rest = every[: self._limit], every[self._limit :]
        if possible := sum(unnamed):
            if len(best) < self._limit or any(named[value] < possible for value, _ in best):
                return None
            others = max((count + possible - named[value] for value, count in rest), default=0)
            if max(others, possible) >= best[-1][1]:
                return None
        return [FacetCount(value, count) for value, count in best]
