"""Pages through results that come and go meanwhile, through the API; and cursors that do not belong."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from runtime.probes import Probes
from schemas.collection import Status
from services.search.api import create_app
from services.search.limits import RANKING_DEPTH
from services.search.problems import Problem
from services.search.ranking.paging import Place, cursor_of, digest_of, place_of
from services.search.ranking.query import READ_DEPTH, SPARE
from stores.vectors import Hit, Point, Ranked, Vector, Where
from tests.unit.search.conftest import client_of, image_point, made_for
from tests.unit.search.fakes import FakeEngine, FakeIndex, unit_vector

VECTORS = [unit_vector(f"v{number}") for number in range(4)]
"""Few, so that many images have the very same score."""


class CountingIndex(FakeIndex):
    """Says how deep it was asked to rank, and whose payloads were read."""

    def __init__(self) -> None:
        super().__init__()
        self.depths: list[int] = []
        self.read: list[int] = []
        self.searches = 0

    async def search(self, *arguments: Any, **more: Any) -> Sequence[Hit]:
        self.searches += 1
        return await super().search(*arguments, **more)

    async def rank(
        self, vector: Vector, *, limit: int, threshold: float | None = None, where: Where = Where()
    ) -> Sequence[Ranked]:
        self.depths.append(limit)
        hits = await super().search(vector, limit=limit, threshold=threshold, where=where)
        return [Ranked(hit.id, hit.score) for hit in hits]

    async def get(self, ids: Sequence[UUID], *, with_vectors: bool = False) -> Any:
        self.read.append(len(ids))
        return await super().get(ids, with_vectors=with_vectors)


async def _index(engine: FakeEngine) -> CountingIndex:
    index = CountingIndex()
    await index.ensure(made_for(engine.encoder.identity))
    return index


@pytest.fixture
async def index(engine: FakeEngine) -> CountingIndex:
    return await _index(engine)


def _point(number: int, *, day: int | None = None, status: Status = Status.INDEXED, version: int = 7) -> Point:
    taken = {} if day is None else {"taken_at": datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)}
    point = image_point(f"{number}.jpg", status=status, version=version, **taken)
    return replace(point, vector=VECTORS[number % len(VECTORS)]) if status is Status.INDEXED else point


async def _page(client: httpx.AsyncClient, cursor: str | None, **options: str | int) -> tuple[list[str], str | None]:
    # Many images have one vector here, and each counts.
    asked = {"q": "x", "fold": "false", **options, **({"cursor": cursor} if cursor else {})}
    answer = await client.get("/v1/search", params=asked)
    assert answer.status_code == 200, answer.text
    return [one["key"] for one in answer.json()["results"]], answer.json()["next_cursor"]


async def _all(client: httpx.AsyncClient, **options: str | int) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        page, cursor = await _page(client, cursor, **options)
        pages.append(page)
        if cursor is None:
            return pages


@settings(max_examples=40, deadline=None)
@given(data=st.data(), stay=st.integers(0, 25), limit=st.integers(1, 8))
async def test_who_stays_is_answered_once_whoever_comes_and_goes(data: st.DataObject, stay: int, limit: int) -> None:
    engine = FakeEngine()
    index = await _index(engine)
    app = create_app(index, engine, probes=Probes(), registry=CollectorRegistry())
    await index.write([_point(number) for number in range(stay)])
    await index.write([_point(number) for number in range(1000, 1010)])
    others, seen, cursor, fresh = set(range(1000, 1010)), [], None, 2000
    async with client_of(app) as client:
        for _ in range(60):
            page, cursor = await _page(client, cursor, limit=limit)
            seen += page
            if cursor is None:
                break
            go = data.draw(st.sets(st.sampled_from(sorted(others)))) if others else set()
            await index.write([_point(number, status=Status.GONE, version=8) for number in go])
            others -= go
            come = data.draw(st.integers(0, 3))
            await index.write([_point(number) for number in range(fresh, fresh + come)])
            others |= set(range(fresh, fresh + come))
            fresh += come
        else:
            # Images that keep coming keep the pages coming; here they stop, and so must the pages.
            while cursor is not None:
                page, cursor = await _page(client, cursor, limit=limit)
                seen += page
    assert {f"{number}.jpg" for number in range(stay)} <= set(seen)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_pages_together_are_the_one_large_page_in_its_order(
    client: httpx.AsyncClient, index: FakeIndex, limit: int
) -> None:
    await index.write([_point(number) for number in range(100)])
    (whole,) = await _all(client, limit=1000)
    pages = await _all(client, limit=limit)
    assert [key for page in pages for key in page] == whole
    assert len(pages) == 100 // limit + (100 % limit > 0)


async def test_the_last_page_has_no_cursor_even_if_it_is_full(client: httpx.AsyncClient, index: FakeIndex) -> None:
    await index.write([_point(number) for number in range(10)])
    assert [len(page) for page in await _all(client, limit=5)] == [5, 5]


@pytest.mark.parametrize("fold", ["true", "false"])
@pytest.mark.parametrize("images", [1, len(VECTORS)])
async def test_the_beginning_is_read_with_the_ranking_in_one_question(
    client: httpx.AsyncClient, index: CountingIndex, fold: str, images: int
) -> None:
    await index.write([_point(number) for number in range(images)])
    page, _ = await _page(client, None, limit=20, fold=fold)
    assert len(page) == images
    assert (index.searches, index.depths, index.read) == (1, [], [])


async def test_further_down_only_the_payloads_of_the_page_are_read(
    client: httpx.AsyncClient, index: CountingIndex
) -> None:
    await index.write([_point(number) for number in range(200)])
    assert [len(page) for page in await _all(client, limit=30)] == [30] * 6 + [20]
    assert index.searches == 3
    assert index.read == [30, 30, 30, 20]


async def test_more_that_came_in_before_than_was_asked_for_is_passed_over(
    client: httpx.AsyncClient, index: CountingIndex
) -> None:
    await index.write([_point(number) for number in range(20)])
    whole = await _all(client, limit=1000)
    first, cursor = await _page(client, None, limit=10)
    best = unit_vector("x")
    newer = [replace(_point(number), vector=best) for number in range(1000, 1000 + 4 * SPARE)]
    await index.write(newer)
    second, cursor = await _page(client, cursor, limit=10)
    assert first + second == whole[0]
    assert cursor is None


async def test_pages_end_at_the_depth_that_is_promised(client: httpx.AsyncClient, index: CountingIndex) -> None:
    await index.write([_point(number) for number in range(RANKING_DEPTH + 500)])
    pages = await _all(client, limit=1000)
    assert sum(map(len, pages)) == RANKING_DEPTH
    assert max(index.depths) == RANKING_DEPTH


async def test_a_result_that_went_between_ranking_and_reading_is_left_out_and_costs_no_other(
    client: httpx.AsyncClient, index: CountingIndex
) -> None:
    await index.write([_point(number) for number in range(READ_DEPTH + 10)])
    first, _ = await _page(client, None, limit=READ_DEPTH)
    ranked = await index.rank(unit_vector("x"), limit=READ_DEPTH + 10)
    gone = ranked[4].id

    async def rank(*_: object, **__: object) -> Sequence[Ranked]:
        del index.points[gone]
        return ranked

    index.rank = rank  # type: ignore[method-assign]
    page, cursor = await _page(client, None, limit=READ_DEPTH)
    assert page == first[:4] + first[5:]
    del index.rank
    rest, _ = await _page(client, cursor, limit=READ_DEPTH)
    assert len(rest) == 10


@pytest.mark.parametrize(
    "changed",
    [
        {"q": "y"},
        {"threshold": 0.0},
        {"bucket": "images"},
        {"filter": '{"tag": "beach"}'},
        {"sort": "newest_taken"},
        {"fold": "true"},
        {"good_only": "true"},
    ],
)
async def test_a_cursor_of_another_query_is_refused(
    client: httpx.AsyncClient, index: FakeIndex, changed: dict[str, str | int]
) -> None:
    await index.write([_point(number) for number in range(10)])
    _, cursor = await _page(client, None, limit=3)
    assert cursor is not None
    answer = await client.get("/v1/search", params={"q": "x", "fold": "false", "cursor": cursor, **changed})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["cursor"]
    # Another size of page is no other query.
    assert (await _page(client, cursor, limit=50))[1] is None


async def test_pages_of_every_form_of_search_belong_to_it(client: httpx.AsyncClient, index: FakeIndex) -> None:
    await index.write([_point(number) for number in range(10)])
    forms: list[dict[str, Any]] = [
        {"json": {"text": "x"}},
        {"json": {"like": [{"text": "x"}, {"text": "y", "weight": 2}]}},
        {"json": {"like": [{"text": "x"}, {"text": "y", "weight": 3}]}},
        {"json": {"id": str(_point(3).id)}},
        {"files": {"image": b"IMG one"}},
        {"files": {"image": b"IMG two"}},
    ]
    cursors = []
    options = {"limit": "5", "fold": "false"}
    for form in forms:
        first = (await client.post("/v1/search", params=options, **form)).json()
        cursors.append(first["next_cursor"])
        following = {**options, "cursor": first["next_cursor"]}
        second = (await client.post("/v1/search", params=following, **form)).json()
        keys = [one["key"] for one in first["results"] + second["results"]]
        assert len(keys) == len(set(keys)) >= 9
    for number, form in enumerate(forms):
        for other, cursor in enumerate(cursors):
            answer = await client.post("/v1/search", params={**options, "cursor": cursor}, **form)
            assert answer.status_code == (200 if number == other else 422)


@pytest.mark.parametrize("cursor", ["nonsense", "5", "\u0000", "é", "'; drop table", "A" * 52, "x" * 2000])
@pytest.mark.parametrize("sort", ["relevance", "newest_taken"])
async def test_a_cursor_that_is_none_is_named(client: httpx.AsyncClient, cursor: str, sort: str) -> None:
    answer = await client.get("/v1/search", params={"q": "x", "cursor": cursor, "sort": sort})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "cursor"


PLACES = st.builds(
    Place,
    value=st.none()
    | st.floats(-1, 1, width=32)
    | st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)),
    id=st.uuids(),
    depth=st.integers(0, RANKING_DEPTH),
)


@given(place=PLACES, flip=st.integers(0, 51), character=st.sampled_from("AZaz09-_"))
def test_a_cursor_reads_back_exactly_and_one_that_was_changed_does_not(place: Place, flip: int, character: str) -> None:
    digest = digest_of("a query")
    cursor = cursor_of(place, digest)
    by_date = not isinstance(place.value, float)
    assert place_of(cursor, digest, by_date=by_date) == place
    changed = cursor[:flip] + character + cursor[flip + 1 :]
    if changed.rstrip("=") != cursor:
        with pytest.raises(Problem):
            place_of(changed, digest, by_date=by_date)


async def _dated(client: httpx.AsyncClient, sort: str, limit: int) -> list[str]:
    return [key for page in await _all(client, sort=sort, limit=limit) for key in page]


@pytest.mark.parametrize("limit", [2, 100])
async def test_a_search_sorted_by_date_has_those_without_a_date_last(
    client: httpx.AsyncClient, index: FakeIndex, limit: int
) -> None:
    days = {0: 5, 1: None, 2: 9, 3: None, 4: 5, 5: 1}
    await index.write([_point(number, day=day) for number, day in days.items()])
    same = sorted((_point(0), _point(4)), key=lambda point: point.id)
    undated = sorted((_point(1), _point(3)), key=lambda point: point.id)
    fives, tail = [point.payload.key for point in same], [point.payload.key for point in undated]
    assert await _dated(client, "newest_taken", limit) == ["2.jpg", *fives, "5.jpg", *tail]
    assert await _dated(client, "oldest_taken", limit) == ["5.jpg", *fives, "2.jpg", *tail]


async def test_sorting_by_date_orders_what_the_threshold_leaves(client: httpx.AsyncClient, index: FakeIndex) -> None:
    await index.write([_point(number, day=number) for number in range(8)])
    found = (await client.get("/v1/search", params={"q": "v1", "fold": "false"})).json()["results"]
    assert found[1]["score"] == pytest.approx(1)
    options: dict[str, str | float] = {"q": "v1", "threshold": 0.99, "sort": "newest_taken", "fold": "false"}
    sorted_by_date = (await client.get("/v1/search", params=options)).json()["results"]
    assert [one["key"] for one in sorted_by_date] == ["5.jpg", "1.jpg"]
