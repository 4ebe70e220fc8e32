"""Groups of duplicates: what belongs together, that nothing is found twice, and that pages end."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from uuid import UUID

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.collection import CollectionMetadata
from services.search.collection import Collection
from services.search.ranking import duplicates as module
from services.search.ranking import neighbours
from services.search.ranking.duplicates import SAME_SHAPE, DuplicateKind, Duplicates, Group
from services.search.ranking.folding import PICTURES
from stores.edge import EdgeIndex
from stores.vectors import Point, VectorIndex
from tests.unit.search.conftest import image_point, made_for
from tests.unit.search.fakes import FakeIndex, identity, unit_vector

NEAR_KINDS = (DuplicateKind.RE_ENCODED, DuplicateKind.SIMILAR)
SHAPES = ((400, 300), (200, 150), (199, 150), (300, 300))


def version(
    of: str, key: str, spread: float, *, shape: tuple[int, int] = SHAPES[0], sha256: str | None = None
) -> Point:
    """An image whose vector is that of a picture, moved by `spread` in a direction of its own."""
    vector = unit_vector(of) + np.float32(spread) * unit_vector(f"{of} {key}")
    width, height = shape
    point = image_point(key, width=width, height=height, sha256=sha256 or (key.encode().hex() * 64)[:64])
    return replace(point, vector=(vector / np.linalg.norm(vector)).astype(np.float32))


collections = st.lists(
    st.builds(
        lambda picture, spread, shape, same: (picture, spread, shape, same),
        st.integers(0, 4),
        st.sampled_from([0.0, 0.05, 0.1, 0.14, 0.2, 0.25, 0.4]),
        st.sampled_from(SHAPES),
        st.booleans(),
    ),
    max_size=40,
).map(
    lambda rows: [
        # The same bytes are the same picture of the same size.
        version(f"p{picture}", f"{at}.jpg", 0.0, sha256=f"{picture}" * 64)
        if same
        else version(f"p{picture}", f"{at}.jpg", spread, shape=shape)
        for at, (picture, spread, shape, same) in enumerate(rows)
    ]
)


def memory_index(points: Sequence[Point]) -> FakeIndex:
    index = FakeIndex()
    index.made = made_for(identity())
    index.points = {point.id: point for point in points}
    return index


async def all_groups(index: VectorIndex, kind: DuplicateKind, limit: int) -> list[Group]:
    """Every page by a process of its own, so that nothing is remembered."""
    found: list[Group] = []
    cursor = None
    for _ in range(500):
        page = await Duplicates(index, Collection(index)).page(kind, limit=limit, cursor=cursor)
        assert len(page.groups) <= limit
        found += page.groups
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError("the pages have no end")


def near(kind: DuplicateKind, one: Point, other: Point) -> bool:
    assert one.vector is not None
    assert other.vector is not None
    cosine = float(one.vector @ other.vector)
    if kind is DuplicateKind.SIMILAR:
        return cosine >= PICTURES.similar - 1e-6
    sides = [point.payload.width / point.payload.height for point in (one, other)]  # type: ignore[operator]
    return cosine >= PICTURES.same - 1e-6 and max(sides) / min(sides) <= 1 + SAME_SHAPE


@settings(max_examples=60, deadline=None)
@given(points=collections, limit=st.integers(1, 5), block=st.integers(1, 9))
async def test_no_image_is_found_twice_and_all_of_a_group_are_near(points: list[Point], limit: int, block: int) -> None:
    by_id = {point.id: point for point in points}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK_LEAST", block)
        patch.setattr(neighbours, "BLOCK_MOST", block)
        for kind in NEAR_KINDS:
            groups = await all_groups(memory_index(points), kind, limit)
            ids = [one.id for group in groups for one in group.images]
            assert len(ids) == len(set(ids))
            leaders = [group.images[0].id for group in groups]
            assert leaders == sorted(leaders)
            for group in groups:
                assert group.kind is kind
                assert len(group.images) >= 2
                assert [one.id for one in group.images] == sorted(one.id for one in group.images)
                for one, other in combinations(group.images, 2):
                    assert near(kind, by_id[one.id], by_id[other.id])


@settings(max_examples=40, deadline=None)
@given(points=collections)
async def test_every_image_that_is_near_to_another_has_a_group_in_its_neighbourhood(points: list[Point]) -> None:
    groups = await all_groups(memory_index(points), DuplicateKind.RE_ENCODED, 50)
    grouped = {one.id for group in groups for one in group.images}
    around = {
        one.id: [other for other in points if near(DuplicateKind.RE_ENCODED, one, other)] for one in points
    }  # fmt: skip
    for one, other in combinations(points, 2):
        if one.payload.sha256 != other.payload.sha256 and other in around[one.id]:
            both = {third.id for third in (*around[one.id], *around[other.id])}
            reached = {fourth.id for third in both for fourth in around[third]}
            assert grouped & reached


@settings(max_examples=40, deadline=None)
@given(points=collections, limit=st.integers(1, 5))
async def test_exact_groups_are_all_images_of_the_same_bytes(points: list[Point], limit: int) -> None:
    expected: dict[str, set[UUID]] = {}
    for point in points:
        expected.setdefault(str(point.payload.sha256), set()).add(point.id)
    groups = await all_groups(memory_index(points), DuplicateKind.EXACT, limit)
    found = {str(group.images[0].payload.sha256): {one.id for one in group.images} for group in groups}
    assert found == {sha256: ids for sha256, ids in expected.items() if len(ids) > 1}
    assert len(groups) == len(found)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(points=collections)
async def test_a_large_collection_is_asked_image_by_image_and_answers_the_same(points: list[Point]) -> None:
    for kind in NEAR_KINDS:
        streamed = await all_groups(memory_index(points), kind, 50)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(neighbours, "STREAMED", 0)
            asked = await all_groups(memory_index(points), kind, 50)
        assert [[one.id for one in group.images] for group in asked] == [
            [one.id for one in group.images] for group in streamed
        ]


PICTURES_AND_COPIES = [
    version("beach", "beach.jpg", 0.0, sha256="a" * 64),
    version("beach", "beach copy.jpg", 0.0, sha256="a" * 64),
    version("beach", "beach small.jpg", 0.05, shape=(200, 150)),
    version("beach", "beach square.jpg", 0.05, shape=(300, 300)),
    version("cat", "cat.jpg", 0.0),
    version("cat", "cat, next frame.jpg", 0.22),
    version("boat", "boat.jpg", 0.0, sha256="b" * 64),
    version("boat", "boat copy.jpg", 0.0, sha256="b" * 64),
    version("lamp", "lamp.jpg", 0.0),
]


@pytest.fixture(params=["memory", "edge"])
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    if request.param == "memory":
        yield memory_index(PICTURES_AND_COPIES)
        return
    async with EdgeIndex(tmp_path, "images") as index:
        await index.ensure(made_for(identity()))
        await index.write(PICTURES_AND_COPIES)
        yield index


async def test_each_kind_finds_what_it_says(both: VectorIndex) -> None:
    def keys(groups: Sequence[Group]) -> list[set[str]]:
        return sorted(({one.payload.key for one in group.images} for group in groups), key=sorted)

    assert keys(await all_groups(both, DuplicateKind.EXACT, 1)) == [
        {"beach.jpg", "beach copy.jpg"},
        {"boat.jpg", "boat copy.jpg"},
    ]
    assert keys(await all_groups(both, DuplicateKind.RE_ENCODED, 1)) == [
        {"beach.jpg", "beach copy.jpg", "beach small.jpg"}
    ]
    assert keys(await all_groups(both, DuplicateKind.SIMILAR, 1)) == [
        {"beach.jpg", "beach copy.jpg", "beach small.jpg", "beach square.jpg"},
        {"cat.jpg", "cat, next frame.jpg"},
    ]


async def test_a_model_of_names_has_exact_duplicates_only() -> None:
    index = memory_index(PICTURES_AND_COPIES)
    index.made = CollectionMetadata(encoder=identity(model="filename-tags"), created_at=made_for(identity()).created_at)
    assert len(await all_groups(index, DuplicateKind.EXACT, 50)) == 2
    assert [await all_groups(index, kind, 50) for kind in NEAR_KINDS] == [[], []]


async def test_a_page_is_answered_when_its_time_is_up_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_MOST", 1)
    monkeypatch.setattr(neighbours, "BLOCK_LEAST", 1)
    index, now = memory_index(PICTURES_AND_COPIES), 0.0

    def clock() -> float:
        nonlocal now
        now += module.PAGE_SECONDS
        return now

    slow = Duplicates(index, Collection(index), clock=clock)
    pages, cursor = [], None
    while True:
        page = await slow.page(DuplicateKind.SIMILAR, limit=50, cursor=cursor)
        pages.append(page.groups)
        cursor = page.cursor
        if cursor is None:
            break
    assert len(pages) == len(PICTURES_AND_COPIES), "one block a page"
    assert sum(map(len, pages)) == 2


async def test_further_groups_of_a_block_are_not_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    index = memory_index([version(f"p{at // 2}", f"{at}", 0.01) for at in range(20)])
    reads = 0
    scroll = index.scroll_vectors

    async def counted(*arguments: object, **named: object) -> object:
        nonlocal reads
        reads += 1
        return await scroll(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(index, "scroll_vectors", counted)
    kept = Duplicates(index, Collection(index))
    page = await kept.page(DuplicateKind.RE_ENCODED, limit=1)
    first = reads
    assert page.cursor is not None
    await kept.page(DuplicateKind.RE_ENCODED, limit=3, cursor=page.cursor)
    assert reads == first


@pytest.fixture
async def images(index: VectorIndex) -> None:
    await index.write(PICTURES_AND_COPIES)


@pytest.mark.usefixtures("images")
async def test_over_http_groups_have_their_images_with_scores_and_pages_go_on(client: httpx.AsyncClient) -> None:
    first = (await client.get("/v1/duplicates?kind=similar&limit=1")).json()
    (group,) = first["groups"]
    assert group["kind"] == "similar"
    assert group["images"][0]["score"] == pytest.approx(1)
    assert all(one["score"] >= PICTURES.similar for one in group["images"])
    assert {"id", "bucket", "key", "score", "payload"} == group["images"][0].keys()
    second = (await client.get(f"/v1/duplicates?kind=similar&cursor={first['next_cursor']}")).json()
    assert len(second["groups"]) == 1
    assert second["next_cursor"] is None


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    "query", ["kind=alike", "limit=0", "limit=101", "cursor=x", "tag=beach", "kind=exact&kind=exact"]
)
async def test_what_cannot_be_asked_is_named(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/v1/duplicates?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


@pytest.mark.usefixtures("images")
async def test_a_cursor_of_another_kind_is_refused(client: httpx.AsyncClient) -> None:
    cursor = (await client.get("/v1/duplicates?kind=exact&limit=1")).json()["next_cursor"]
    assert cursor
    for kind in ("similar", "re-encoded"):
        answer = await client.get(f"/v1/duplicates?kind={kind}&cursor={cursor}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "cursor"
