"""Folding: what counts as near, what is promised over pages, and what is not folded."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from schemas.collection import CollectionMetadata
from services.search.collection import Collection
from services.search.ranking.folding import FOLDED_DEPTH, PICTURES, REMEMBERED_SECONDS, Folding, Look, fold
from stores.vectors import Hit, Point, Ranked, StoredPoint, Vector, VectorIndex
from tests.unit.search.conftest import image_point, made_for
from tests.unit.search.fakes import FakeIndex, identity, unit_vector


def turned(vector: Vector, by: float, towards: str) -> Vector:
    """The vector turned so that its cosine with what it was is `by`."""
    other = unit_vector(towards).astype(np.float64)
    other -= (other @ vector) * vector
    other /= np.linalg.norm(other)
    made: Vector = (by * vector + np.sqrt(1 - by * by) * other).astype(np.float32)
    return made


def copies(of: str, cosines: Sequence[float]) -> list[Point]:
    first = image_point(of)
    assert first.vector is not None
    return [
        first,
        *(
            replace(image_point(f"{at}-{of}"), vector=turned(first.vector, cosine, f"{at} of {of}"))
            for at, cosine in enumerate(cosines)
        ),
    ]


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[Ranked], dict[UUID, Look]]:
    """Results of a few pictures, each in several versions, some with hashes."""
    seed = draw(st.integers(0, 1000))
    shown = draw(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([None, "a", "b"])), max_size=25))
    ranked, looks = [], {}
    for at, (picture, sha256) in enumerate(shown):
        vector = turned(unit_vector(f"{seed} {picture}"), 0.994 + 0.005 * (at % 2), f"{seed} {at}")
        ranked.append(Ranked(UUID(int=at + 1), 1 - at / 100))
        looks[ranked[-1].id] = Look(vector, sha256)
    return ranked, looks


@given(rankings(), st.integers(0, 25))
def test_every_image_is_kept_or_counted_once_and_a_ranking_begins_alike_however_far_it_is_read(
    ranking: tuple[list[Ranked], dict[UUID, Look]], depth: int
) -> None:
    ranked, looks = ranking
    folded = fold(ranked, looks, PICTURES.same)
    assert len(folded.ranked) + sum(folded.duplicates.values()) == len(ranked)
    assert [one for one in ranked if one in folded.ranked] == folded.ranked
    assert set(folded.duplicates) <= {one.id for one in folded.ranked}
    begun = fold(ranked[:depth], looks, PICTURES.same)
    assert begun.ranked == [one for one in folded.ranked if one in ranked[:depth]]


@given(rankings())
def test_what_is_kept_is_not_near_and_what_is_folded_is_near_to_something_better(
    ranking: tuple[list[Ranked], dict[UUID, Look]],
) -> None:
    ranked, looks = ranking
    kept = [one.id for one in fold(ranked, looks, PICTURES.same).ranked]

    def near(one: UUID, other: UUID) -> bool:
        first, second = looks[one], looks[other]
        assert first.vector is not None
        assert second.vector is not None
        same_bytes = first.sha256 is not None and first.sha256 == second.sha256
        return same_bytes or float(first.vector.astype(np.float64) @ second.vector) >= PICTURES.same

    assert not any(near(one, other) for one in kept for other in kept if one < other)
    for gone in (one.id for one in ranked if one.id not in kept):
        assert any(near(gone, leader) for leader in kept if leader < gone)


@given(rankings(), st.sets(st.integers(1, 25)), st.sets(st.integers(1, 25)), st.sets(st.integers(1, 25)))
def test_each_is_folded_into_the_best_that_it_is_near_to_by_a_plain_reading(
    ranking: tuple[list[Ranked], dict[UUID, Look]], unknown: set[int], unseen: set[int], gone: set[int]
) -> None:
    ranked, known = ranking
    looks: dict[UUID, Look | None] = {
        one: None if one.int in gone else replace(look, vector=None if one.int in unseen else look.vector)
        for one, look in known.items()
        if one.int not in unknown
    }

    def near(first: Look, second: Look) -> bool:
        if first.sha256 is not None and first.sha256 == second.sha256:
            return True
        if first.vector is None or second.vector is None:
            return False
        return float(first.vector.astype(np.float64) @ second.vector.astype(np.float64)) >= PICTURES.same

    leaders: list[UUID] = []
    duplicates: dict[UUID, int] = {}
    kept = []
    for one in ranked:
        look = looks.get(one.id)
        leader = next((at for at in leaders if look and (other := looks[at]) and near(look, other)), None)
        if leader is not None:
            duplicates[leader] = duplicates.get(leader, 0) + 1
            continue
        kept.append(one)
        if look is not None:
            leaders.append(one.id)
    folded = fold(ranked, looks, PICTURES.same)
    assert folded.ranked == kept
    assert folded.duplicates == duplicates


class AskedIndex(FakeIndex):
    """Keeps which points were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[UUID] = []

    async def get(self, ids: Sequence[UUID], *, with_vectors: bool = False) -> Sequence[StoredPoint]:
        self.asked += ids
        return await super().get(ids, with_vectors=with_vectors)


async def test_what_was_read_is_not_read_again_for_a_minute_and_an_image_that_went_is_folded_into_none() -> None:
    index, now = AskedIndex(), 0.0
    index.made = made_for(identity())
    points = [replace(image_point(f"{at}.jpg"), vector=unit_vector("same")) for at in range(4)]
    index.points = {point.id: point for point in points[:3]}
    ranked = [Ranked(point.id, 1.0) for point in points]
    read = {points[0].id: Hit(points[0].id, 1.0, points[0].payload, points[0].vector)}
    folding = Folding(index, Collection(index), clock=lambda: now)

    first = await folding.fold(ranked, read)
    assert index.asked == [point.id for point in points[1:]]
    assert [one.id for one in first.ranked] == [points[0].id, points[3].id]
    assert first.duplicates == {points[0].id: 2}
    assert first.payloads == {point.id: point.payload for point in points[:3]}

    now = REMEMBERED_SECONDS - 1
    again = await folding.fold(ranked)
    assert len(index.asked) == 3
    assert (again.ranked, again.duplicates, again.payloads) == (first.ranked, first.duplicates, {})

    now = REMEMBERED_SECONDS + 1
    await folding.fold(ranked)
    assert index.asked[3:] == [point.id for point in points]


def test_without_a_bound_only_equal_bytes_are_folded() -> None:
    vector = unit_vector("x")
    looks = {UUID(int=at): Look(vector, sha256) for at, sha256 in ((1, "a"), (2, None), (3, "a"), (4, None))}
    ranked = [Ranked(one, 1.0) for one in looks]
    folded = fold(ranked, looks, None)
    assert [one.id.int for one in folded.ranked] == [1, 2, 4]
    assert folded.duplicates == {UUID(int=1): 1}


async def test_names_are_not_taken_for_pictures_and_beyond_a_depth_nothing_is_folded() -> None:
    index = FakeIndex()
    points = [replace(image_point(f"{at}.jpg"), vector=unit_vector("same")) for at in range(FOLDED_DEPTH + 5)]
    index.points = {point.id: point for point in points}
    ranked = [Ranked(point.id, 1.0) for point in points]
    index.made = made_for(identity())
    folded = await Folding(index, Collection(index)).fold(ranked)
    assert len(folded.ranked) == 1 + 5
    assert folded.duplicates == {points[0].id: FOLDED_DEPTH - 1}
    index.made = CollectionMetadata(encoder=identity(model="filename-tags"), created_at=index.made.created_at)
    assert len((await Folding(index, Collection(index)).fold(ranked)).ranked) == FOLDED_DEPTH + 5


@pytest.fixture
async def pictures(index: VectorIndex) -> list[Point]:
    """A beach with three near versions and one that is only similar, a cat twice byte for byte, and nine others."""
    cats = [replace(one, payload=one.payload.model_copy(update={"sha256": "c" * 64})) for one in copies("cat", [0.8])]
    points = copies("beach", [0.999, 0.995, 0.992, 0.97]) + cats + [image_point(f"other {at}") for at in range(9)]
    await index.write(points)
    return points


async def pages(client: httpx.AsyncClient, limit: int, **options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        parameters = {"q": "IMG beach", "limit": str(limit)} | options | ({"cursor": cursor} if cursor else {})
        answer = (await client.get("/v1/search", params=parameters)).json()
        found += answer["results"]
        cursor = answer["next_cursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 2, 5, 50])
async def test_near_duplicates_are_one_result_with_their_number_and_come_on_no_later_page(
    client: httpx.AsyncClient, pictures: list[Point], limit: int
) -> None:
    found = await pages(client, limit)
    assert len(found) == len(pictures) - 3 - 1
    assert found[0]["key"] == "beach"
    assert found[0]["duplicates"] == 3
    assert [one["key"] for one in found].count("3-beach") == 1, "similar is not the same"
    assert sum(str(one["key"]).endswith("cat") for one in found) == 1
    keys = [one["key"] for one in await pages(client, limit, fold="false")]
    assert sorted(map(str, keys)) == sorted(point.payload.key for point in pictures)


async def test_by_date_they_are_folded_too_and_a_search_by_photo_folds_nothing(
    app: FastAPI, client: httpx.AsyncClient, pictures: list[Point]
) -> None:
    by_date = await pages(client, 50, sort="newest_uploaded")
    assert len(by_date) == len(pictures) - 4
    found = (await client.post("/api/search-by-image", files={"image": ("x.jpg", b"IMG beach")})).json()
    kept = (await client.get(f"/api/search-results/{found['search_id']}")).json()["results"]
    assert {"beach", "0-beach", "1-beach", "2-beach", "3-beach"} <= {one["key"] for one in kept}
    assert {one["duplicates"] for one in kept} == {0}
