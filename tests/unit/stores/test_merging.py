"""Answers of several shards as one: what a single shard with all of their points would have answered."""

from collections import Counter
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import point_id
from stores.cursor import cursor_at
from stores.merging import FacetMerge, merged, merged_vectors, share_of
from stores.vectors import FacetCount, VectorPage

VALUES = st.sampled_from([f"v{n}" for n in range(12)])
SHARDS = st.lists(st.lists(VALUES, max_size=40), min_size=1, max_size=4)


def most_frequent(values: list[str], limit: int) -> list[tuple[str, int]]:
    return sorted(Counter(values).items(), key=lambda one: (-one[1], one[0]))[:limit]


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
    every = most_frequent([value for one in shards for value in one], limit)
    assert best == [FacetCount(value, count) for value, count in every]


def test_a_clear_order_needs_no_second_question() -> None:
    shard = [(f"v{n:04}", 5000 - n) for n in range(2000)]
    merge = FacetMerge(10, 2)
    assert merge.best([shard[: merge.asked], shard[: merge.asked]]) == [
        FacetCount(f"v{n:04}", 2 * (5000 - n)) for n in range(10)
    ]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=60), st.integers(1, 70))
async def test_the_first_of_all_are_found_however_they_are_spread(points: list[tuple[int, int]], limit: int) -> None:
    every = [(shard, (score, number)) for number, (shard, score) in enumerate(points)]

    async def ask(most: int) -> list[list[tuple[int, int]]]:
        return [sorted(one for at, one in every if at == shard)[:most] for shard in range(4)]

    assert await merged(ask, limit, 4, lambda one: one) == sorted(one for _, one in every)[:limit]


async def test_a_shard_that_has_more_than_its_share_is_asked_again() -> None:
    asked: list[int] = []

    async def ask(most: int) -> list[list[int]]:
        asked.append(most)
        return [list(range(100))[:most], list(range(1000, 1100))[:most]]

    assert await merged(ask, 30, 2, lambda one: one) == list(range(30))
    assert asked == [share_of(30, 2), 30]
    asked.clear()
    assert await merged(ask, 20, 1, lambda one: one) == list(range(20))
    assert asked == [20]


@pytest.mark.parametrize(("limit", "shards"), [(4, 2), (26, 2), (26, 4), (500, 3), (1000, 2)])
def test_a_share_is_nearly_always_enough_and_not_much_more(limit: int, shards: int) -> None:
    ids = [point_id("folder", "photos", f"{n}.jpg").int % shards for n in range(20_000)]
    share = share_of(limit, shards)
    most = [max(Counter(ids[at : at + limit]).values()) for at in range(0, len(ids) - limit, 37)]
    assert sum(one <= share for one in most) >= 0.9 * len(most)
    assert share <= limit / shards + 2.5 * (limit / shards) ** 0.5 + 1


def page(numbers: list[int], following: int | None) -> VectorPage:
    ids = [UUID(int=one) for one in numbers]
    rows = np.array([[one, one] for one in numbers], dtype=np.float32).reshape(-1, 2)
    return VectorPage(ids, numbers, rows, None if following is None else cursor_at(UUID(int=following)))


def test_vectors_are_in_the_order_of_ids_up_to_where_one_shard_ended() -> None:
    pages = [page([0, 2, 8], 10), page([1, 3], 5), page([], None)]
    both = merged_vectors(pages, UUID(int=5), 100)
    assert both.versions == [0, 1, 2, 3]
    assert both.vectors[:, 0].tolist() == [0, 1, 2, 3]
    assert both.cursor == cursor_at(UUID(int=5))
    cut = merged_vectors(pages, UUID(int=5), 2)
    assert (cut.versions, cut.cursor) == ([0, 1], cursor_at(UUID(int=2)))


def test_a_shard_without_a_collection_yet_has_no_part_in_a_page() -> None:
    empty = VectorPage([], [], np.zeros((0, 1), dtype=np.float32), None)
    assert merged_vectors([empty, page([4], None)], None, 10).versions == [4]
    assert len(merged_vectors([empty, empty], None, 10).vectors) == 0
