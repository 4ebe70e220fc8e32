"""Answers of several shards as one: what a single shard with all of their points would have answered."""

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.merging import FacetMerge, merged_ranking, share_of
from stores.vectors import FacetCount, Ranked

VALUES = st.sampled_from([f"v{n}" for n in range(12)])
SHARDS = st.lists(st.lists(VALUES, max_size=40), min_size=1, max_size=4)


def most_frequent(values: list[str], limit: int) -> list[FacetCount]:
    every = sorted(Counter(values).items(), key=lambda one: (-one[1], one[0]))
    return [FacetCount(value, count) for value, count in every[:limit]]


@given(SHARDS, st.integers(1, 14), st.integers(0, 3))
def test_counts_are_those_of_all_points(shards: list[list[str]], limit: int, slack: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stores.merging.FACET_SLACK", slack)
        patch.setattr("stores.merging.FACET_GROWTH", 2)
        merge = FacetMerge(limit, len(shards))
        best = None
        for _ in range(10):
            asked = merge.asked
            best = merge.best([most_frequent(one, asked) for one in shards])
            if best is not None:
                break
    assert best == most_frequent([value for one in shards for value in one], limit)


def test_a_clear_order_needs_no_second_question() -> None:
    shard = [FacetCount(f"v{n:04}", 5000 - n) for n in range(2000)]
    merge = FacetMerge(10, 2)
    assert merge.best([shard[: merge.asked], shard[: merge.asked]]) == [
        FacetCount(f"v{n:04}", 2 * (5000 - n)) for n in range(10)
    ]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=60), st.integers(1, 70))
def test_rankings_are_merged_with_ties_by_id(points: list[tuple[int, int]], limit: int) -> None:
    every = [(shard, Ranked(UUID(int=number), score / 4)) for number, (shard, score) in enumerate(points)]
    order = sorted((one for _, one in every), key=lambda one: (-one.score, one.id))
    rankings = [
        sorted((one for at, one in every if at == shard), key=lambda one: (-one.score, one.id)) for shard in range(4)
    ]
    assert [rankings[at][number] for at, number in merged_ranking(rankings, limit)] == order[:limit]


@pytest.mark.parametrize(("limit", "shards"), [(1, 1), (25, 1), (1, 4), (26, 2), (10_000, 3)])
def test_a_share_is_enough_for_all_that_falls_to_one_shard(limit: int, shards: int) -> None:
    share = share_of(limit, shards)
    assert limit / shards <= share <= limit
    if shards == 1:
        assert share == limit
