"""What every `VectorIndex` answers to those who look for something: filters, ranks, counts by value, orders of a field.

The same implementations as in `test_vector_index`; what a filter means is said by `filter_evaluation`.
"""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.collection import Status
from schemas.events import Tag
from stores.filters import (
    AllOf,
    AnyOf,
    Between,
    Filter,
    KeyPrefix,
    KeywordField,
    Match,
    Not,
    RangeField,
    Tagged,
)
from stores.vectors import FacetCount, NewTags, Point, StoredPoint, VectorIndex, Where
from tests.unit.stores.filter_evaluation import holds, matches, value_of, values_of
from tests.unit.stores.index_points import AXIS, NOW, at_cosine, direction, key_id, point

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

ANY = Where(status=None)
TICK = timedelta(microseconds=1)
MOMENTS = [NOW, NOW + TICK, NOW - TICK, NOW + timedelta(days=400), datetime(1970, 1, 1, tzinfo=UTC)]
SIZES = [0, 1, 4096, 4097, 2**40]
SCORES = [0.0, 1e-9, 0.25, 0.3, 0.3000001, 0.5, 1 - 1e-12, 1.0]
TAGS = ["cat", "dog", "Zürich"]
COMPONENTS = ["a", "ab", "photos", "IMG_2024_01", "IMG_2024_02", "IMG_2025", "märz", "100%_*"]

several_examples = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def point_with(point_key: str, /, *, vector: Any = None, **fields: Any) -> Point:
    """A point whose payload has these fields beside what every payload has."""
    status = fields.pop("status", Status.INDEXED)
    one = point(point_key, status=status, vector=vector, bucket=fields.pop("bucket", "photos"))
    return replace(one, payload=one.payload.model_copy(update=fields))


def tags(**scores: float) -> tuple[Tag, ...]:
    return tuple(Tag(tag=name, score=score) for name, score in scores.items())


keys = st.lists(st.sampled_from(COMPONENTS), min_size=1, max_size=3).map("/".join)
payload_fields = st.fixed_dictionaries(
    {"status": st.sampled_from([Status.INDEXED, Status.INDEXED, Status.INDEXED, Status.GONE])},
    optional={
        "camera": st.sampled_from(["Canon EOS R6", "Pixel 8"]),
        "format": st.sampled_from(["JPEG", "PNG"]),
        "size": st.sampled_from(SIZES),
        "width": st.sampled_from([1, 4032]),
        "taken_at": st.sampled_from(MOMENTS),
        "uploaded_at": st.sampled_from(MOMENTS),
        "tags": st.dictionaries(st.sampled_from(TAGS), st.sampled_from(SCORES)).map(lambda scores: tags(**scores)),
        "vector": st.sampled_from([at_cosine(c) for c in (0.9, 0.5, -0.2)]),
    },
)
populations = st.dictionaries(keys, payload_fields, min_size=1, max_size=12)

leaves = st.one_of(
    st.builds(Match, st.just(KeywordField.CAMERA), st.sampled_from(["Canon EOS R6", "Canon"])),
    st.builds(Match, st.just(KeywordField.FORMAT), st.just("PNG")),
    st.builds(Match, st.just(KeywordField.TAG), st.sampled_from(TAGS)),
    st.builds(Match, st.just(KeywordField.STATUS), st.sampled_from(["indexed", "gone"])),
    st.builds(Between, st.just(RangeField.SIZE), *[st.none() | st.sampled_from([*SIZES, 4096.5, -1])] * 2),
    st.builds(Between, st.just(RangeField.WIDTH), *[st.none() | st.sampled_from([1, 2, 4032])] * 2),
    st.builds(
        Between,
        st.sampled_from([RangeField.TAKEN_AT, RangeField.UPLOADED_AT, RangeField.INDEXED_AT]),
        *[st.none() | st.sampled_from(MOMENTS)] * 2,
    ),
    st.builds(Tagged, st.sampled_from(TAGS), st.none() | st.sampled_from(SCORES)),
    st.builds(KeyPrefix, st.builds(lambda key, length: key[:length], keys, st.integers(0, 20))),
)


def _nested(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(parts, max_size=3).map(tuple)
    return st.builds(AllOf, several) | st.builds(AnyOf, several) | st.builds(Not, parts)


filters: st.SearchStrategy[Filter] = st.recursive(leaves, _nested, max_leaves=6)


async def population(index: VectorIndex, drawn: dict[str, dict[str, Any]]) -> tuple[str, list[Point]]:
    """Points in a bucket of their own, written."""
    bucket = f"bucket-{uuid4().hex}"
    points = [point_with(key, bucket=bucket, **fields) for key, fields in drawn.items()]
    await index.write(points)
    return bucket, points


async def pages_by(
    index: VectorIndex, field: RangeField, where: Where, *, descending: bool, limit: int
) -> list[StoredPoint]:
    found: list[StoredPoint] = []
    cursor = None
    for _ in range(1000):
        page = await index.scroll_by(field, where, descending=descending, limit=limit, cursor=cursor)
        assert len(page.points) <= limit
        found += page.points
        if page.cursor is None:
            return found
        assert len(page.points) == limit, "only the last page is short"
        cursor = page.cursor
    raise AssertionError("the pages never end")


def in_order(points: list[Point], field: RangeField, where: Where, *, descending: bool) -> list[UUID]:
    """What the pages are to hold."""
    wanted = [one for one in points if matches(where, one.id, one.payload)]
    having = sorted((one for one in wanted if value_of(one.payload, field) is not None), key=lambda one: one.id)
    having.sort(key=lambda one: value_of(one.payload, field), reverse=descending)  # type: ignore[arg-type, return-value]
    return [one.id for one in having]


class TestFilters:
    @several_examples
    @given(drawn=populations, condition=filters, status=st.sampled_from([None, Status.INDEXED]))
    async def test_a_filter_finds_what_it_says_in_every_kind_of_read(
        self, index: VectorIndex, drawn: dict[str, dict[str, Any]], condition: Filter, status: Status | None
    ) -> None:
        bucket, points = await population(index, drawn)
        where = Where(status=status, bucket=bucket, filter=condition)
        expected = {one.id for one in points if matches(where, one.id, one.payload)}
        assert {one.id for one in (await index.scroll(where, limit=1000)).points} == expected
        assert await index.count(where) == len(expected)
        with_vector = {one.id for one in points if one.vector is not None}
        assert {hit.id for hit in await index.search(AXIS, limit=1000, where=where)} == expected & with_vector
        assert {hit.id for hit in await index.rank(AXIS, limit=1000, where=where)} == expected & with_vector
        assert set((await index.scroll_vectors(where, limit=1000)).ids) == expected & with_vector

    async def test_nothing_negated_and_everything_negated(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg"), point("b.jpg")])
        expected: list[tuple[Filter, int]] = [
            (AllOf(), 2),
            (AnyOf(), 0),
            (Not(AllOf()), 0),
            (Not(AnyOf()), 2),
            (AnyOf((AllOf(), AnyOf())), 2),
            (AllOf((AnyOf(), AllOf())), 0),
            (KeyPrefix(""), 2),
            (Not(KeyPrefix("")), 0),
        ]
        for condition, count in expected:
            assert await index.count(Where(filter=condition)) == count, condition
            assert len(await index.rank(AXIS, limit=9, where=Where(filter=condition))) == count, condition

    async def test_a_missing_field_fails_a_condition_and_passes_its_negation(self, index: VectorIndex) -> None:
        await index.write([point_with("with.jpg", taken_at=NOW, size=5), point("without.jpg")])
        conditions: list[Filter] = [Between(RangeField.TAKEN_AT, NOW), Between(RangeField.SIZE, 0)]
        conditions.append(Between(RangeField.SIZE))
        for condition in conditions:
            assert [hit.id for hit in await index.rank(AXIS, limit=9, where=Where(filter=condition))] == [
                key_id("with.jpg")
            ]
            assert [hit.id for hit in await index.rank(AXIS, limit=9, where=Where(filter=Not(condition)))] == [
                key_id("without.jpg")
            ]

    async def test_a_filter_holds_beside_the_other_conditions(self, index: VectorIndex) -> None:
        points = [point_with(f"{n}.jpg", size=n, taken_at=NOW + n * TICK) for n in range(9)]
        await index.write(points)
        where = Where(taken_after=NOW + 3 * TICK, filter=Between(RangeField.SIZE, None, 6), without=(key_id("4.jpg"),))
        assert {one.payload.key for one in (await index.scroll(where, limit=9)).points} == {"3.jpg", "5.jpg"}

    @pytest.mark.parametrize("least", SCORES)
    async def test_the_least_score_is_exact(self, index: VectorIndex, least: float) -> None:
        # Edge keeps a number of a payload to 15 digits or so.
        scores = {min(1.0, max(0.0, base + step)) for base in SCORES for step in (0, 1e-13, -1e-13)}
        points = [point_with(f"{n}.jpg", tags=tags(cat=score, dog=1.0)) for n, score in enumerate(sorted(scores))]
        await index.write(points)
        expected = {one.id for one in points if one.payload.tags[0].score >= least}
        found = await index.rank(AXIS, limit=100, where=Where(tag="cat", tag_score=least))
        assert {hit.id for hit in found} == expected
        assert await index.count(Where(filter=Not(Tagged("cat", least)))) == len(points) - len(expected)

    async def test_new_tags_are_what_is_found_from_then_on(self, index: VectorIndex) -> None:
        await index.write([point_with("a.jpg", tags=tags(cat=0.9))])
        await index.set_tags([NewTags(key_id("a.jpg"), 1, tags(cat=0.4, dog=0.8), "second")])
        assert await index.count(Where(tag="cat", tag_score=0.5)) == 0
        assert await index.count(Where(tag="cat", tag_score=1.5)) == 0
        assert await index.count(Where(filter=Not(Tagged("cat", 1.5)))) == 1
        assert await index.count(Where(tag="cat", tag_score=0.4)) == 1
        assert await index.count(Where(tag="dog", tag_score=0.8)) == 1

    async def test_the_engine_chooses_well_or_badly_but_never_wrongly(self, index: VectorIndex) -> None:
        """Enough points that some conditions are rare and others hold for nearly all."""
        points = [
            point_with(
                f"{n % 3}/{'IMG_20240101_' if n % 2 else 'x'}{n}.jpg",
                size=n,
                camera="rare" if n % 50 == 0 else "common",
                taken_at=NOW + n * TICK if n % 4 else None,
                tags=tags(cat=(n % 10) / 10) if n % 3 else (),
            )
            for n in range(600)
        ]
        for start in range(0, 600, 200):
            await index.write(points[start : start + 200])
        rare, common = Match(KeywordField.CAMERA, "rare"), Match(KeywordField.CAMERA, "common")
        late, early = Between(RangeField.TAKEN_AT, NOW + 5 * TICK), Between(RangeField.TAKEN_AT, None, NOW + 9 * TICK)
        for condition in (
            AllOf((late, Between(RangeField.SIZE, 10))),
            AllOf((rare, late, KeyPrefix("1/x"))),
            AllOf((early, common, Tagged("cat", 0.3))),
            AnyOf((rare, early, AllOf((late, Tagged("cat", 0.9))))),
            AllOf((Not(late), Not(rare))),
            AllOf((common, KeyPrefix("2/IMG_20240101_1"))),
            AllOf((KeyPrefix("1"), Not(Tagged("cat", 0.1)), AnyOf((rare, common)))),
        ):
            expected = {one.id for one in points if holds(condition, one.payload)}
            assert expected, condition
            found = await index.rank(AXIS, limit=1000, where=Where(filter=condition))
            assert {hit.id for hit in found} == expected, condition

    def test_what_bounds_nothing_is_refused_at_once(self) -> None:
        for field, bound in (
            (RangeField.SIZE, NOW),
            (RangeField.TAKEN_AT, 5),
            (RangeField.TAKEN_AT, datetime(2026, 1, 1)),
            (RangeField.SIZE, float("nan")),
            (RangeField.SIZE, float("inf")),
            (RangeField.SIZE, 10**400),
        ):
            with pytest.raises(ValueError, match=r"compared with|zone|bounded"):
                Between(field, bound)


class TestRanks:
    async def test_a_rank_is_a_search_without_payloads(self, index: VectorIndex) -> None:
        await index.write([point(f"{n}.jpg", vector=direction(n)) for n in range(50)])
        for threshold in (None, 0.1, 0.99):
            hits = await index.search(direction(3), limit=20, threshold=threshold)
            ranked = await index.rank(direction(3), limit=20, threshold=threshold)
            assert [one.id for one in ranked] == [hit.id for hit in hits]
            assert [one.score for one in ranked] == pytest.approx([hit.score for hit in hits], abs=1e-6)

    async def test_ties_are_in_the_order_of_ids_at_the_limit_too(self, index: VectorIndex) -> None:
        points = [point(f"{c}/{n}.jpg", vector=at_cosine(c)) for c in (0.9, 0.5, 0.1) for n in range(30)]
        await index.write(points)
        everything = await index.rank(AXIS, limit=1000)
        expected = [one.id for c in (0.9, 0.5, 0.1) for one in sorted(points, key=lambda one: one.id)
                    if one.payload.key.startswith(f"{c}/")]  # fmt: skip
        assert [one.id for one in everything] == expected
        for limit in (1, 5, 29, 30, 31, 59, 60, 89, 90, 91):
            assert await index.rank(AXIS, limit=limit) == everything[:limit], limit

    async def test_the_threshold_is_the_least_score_to_answer(self, index: VectorIndex) -> None:
        await index.write([point(f"{c}.jpg", vector=at_cosine(c)) for c in (0.2, 0.5, 0.9)])
        middle = (await index.rank(AXIS, limit=3))[1].score
        above = float(np.nextafter(np.float32(middle), np.float32(1)))
        assert len(await index.rank(AXIS, limit=3, threshold=middle)) == 2
        assert len(await index.rank(AXIS, limit=3, threshold=above)) == 1

    async def test_what_has_gone_has_no_rank(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg", 1, vector=AXIS), point("b.jpg", 1, vector=AXIS), point("c.jpg", 1)])
        await index.write([point("a.jpg", 2, status=Status.GONE), point("c.jpg", 2, status=Status.REJECTED)])
        for where in (Where(), ANY):
            assert [one.id for one in await index.rank(AXIS, limit=9, where=where)] == [key_id("b.jpg")]

    async def test_a_limit_below_one_is_refused(self, index: VectorIndex) -> None:
        with pytest.raises(ValueError, match="limit"):
            await index.rank(AXIS, limit=0)


class TestCounts:
    @several_examples
    @given(drawn=populations, condition=filters | st.none(), field=st.sampled_from(KeywordField))
    async def test_values_are_counted_exactly_most_frequent_first(
        self, index: VectorIndex, drawn: dict[str, dict[str, Any]], condition: Filter | None, field: KeywordField
    ) -> None:
        bucket, points = await population(index, drawn)
        where = Where(bucket=bucket, filter=condition)
        counts = Counter(
            value
            for one in points
            if matches(where, one.id, one.payload)
            for value in set(values_of(one.payload, field))
        )
        expected = [FacetCount(*one) for one in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
        assert list(await index.facet(field, where, limit=100)) == expected
        assert list(await index.facet(field, where, limit=1)) == expected[:1]

    async def test_they_stay_exact_while_points_are_overwritten_go_and_are_swept(self, index: VectorIndex) -> None:
        points = [point_with(f"{n}.jpg", camera=f"{n % 7}", tags=tags(cat=0.5)) for n in range(300)]
        await index.write(points)
        again = [point_with(f"{n}.jpg", camera="new", tags=tags(dog=0.5)) for n in range(0, 300, 2)]
        await index.write([replace(one, payload=one.payload.model_copy(update={"version": 2})) for one in again])
        gone = [point(f"{n}.jpg", 3, status=Status.GONE) for n in range(0, 300, 3)]
        await index.write(gone)
        await index.sweep_gone(before_version=4)
        left = [n for n in range(300) if n % 3]
        cameras = Counter("new" if n % 2 == 0 else f"{n % 7}" for n in left)
        found = await index.facet(KeywordField.CAMERA, Where(), limit=100)
        assert {one.value: one.count for one in found} == cameras
        found = await index.facet(KeywordField.TAG, ANY, limit=100)
        assert {one.value: one.count for one in found} == {"cat": 100, "dog": 100}

    async def test_nothing_is_counted_before_there_is_anything(self, bare: VectorIndex) -> None:
        assert list(await bare.facet(KeywordField.TAG, Where(), limit=3)) == []
        assert list(await bare.rank(AXIS, limit=3)) == []
        assert await bare.extremes(RangeField.TAKEN_AT, Where()) is None
        page = await bare.scroll_by(RangeField.TAKEN_AT, Where(), descending=True, limit=3)
        assert (list(page.points), page.cursor) == ([], None)


class TestOrders:
    @several_examples
    @given(
        drawn=populations,
        condition=filters | st.none(),
        field=st.sampled_from(RangeField),
        descending=st.booleans(),
        limit=st.integers(1, 5),
    )
    async def test_pages_hold_everything_once_in_the_order_of_values_and_ids(
        self,
        index: VectorIndex,
        drawn: dict[str, dict[str, Any]],
        condition: Filter | None,
        field: RangeField,
        descending: bool,
        limit: int,
    ) -> None:
        bucket, points = await population(index, drawn)
        where = Where(bucket=bucket, filter=condition)
        expected = in_order(points, field, where, descending=descending)
        found = await pages_by(index, field, where, descending=descending, limit=limit)
        assert [one.id for one in found] == expected
        payloads = {one.id: one.payload for one in points}
        assert all(one.payload == payloads[one.id] for one in found)
        extremes = await index.extremes(field, where)
        values = [value_of(payloads[one], field) for one in expected]
        assert extremes == ((min(values), max(values)) if values else None)  # type: ignore[type-var]

    async def test_more_points_of_one_value_than_a_page_holds(self, index: VectorIndex) -> None:
        points = [point_with(f"{n}.jpg", taken_at=MOMENTS[n // 200]) for n in range(500)]
        for start in range(0, 500, 100):
            await index.write(points[start : start + 100])
        for descending in (True, False):
            for limit in (90, 200, 250, 500):
                found = await pages_by(index, RangeField.TAKEN_AT, Where(), descending=descending, limit=limit)
                expected = in_order(points, RangeField.TAKEN_AT, Where(), descending=descending)
                assert [one.id for one in found] == expected

    @pytest.mark.parametrize("descending", [True, False])
    async def test_writes_between_pages_neither_hide_nor_repeat_other_points(
        self, index: VectorIndex, descending: bool
    ) -> None:
        """New points of old and new values, points written again, points that go: on and beside the place of a page."""
        steady = [point_with(f"steady {n}.jpg", taken_at=MOMENTS[n % 5]) for n in range(60)]
        await index.write(steady)
        await index.write([point_with(f"going {n}.jpg", taken_at=MOMENTS[n % 5]) for n in range(60)])
        seen: list[UUID] = []
        cursor = None
        for number in range(1000):
            page = await index.scroll_by(RangeField.TAKEN_AT, Where(), descending=descending, limit=7, cursor=cursor)
            seen += [one.id for one in page.points]
            cursor = page.cursor
            if cursor is None:
                break
            last = page.points[-1]
            again = [
                replace(one, payload=one.payload.model_copy(update={"version": number + 2})) for one in steady[:30]
            ]
            going = [point(f"going {n}.jpg", 2, status=Status.GONE) for n in range(number * 5, number * 5 + 5)]
            if last.payload.key.startswith("going"):
                going.append(point(last.payload.key, 2, status=Status.GONE))
            await asyncio.gather(
                index.write([point_with(f"new {number}.jpg", taken_at=MOMENTS[number % 5])]),
                index.write(again),
                index.write(going),
            )
        assert cursor is None
        assert len(seen) == len(set(seen))
        assert {one.id for one in steady} <= set(seen)

    async def test_while_others_write(self, index: VectorIndex) -> None:
        steady = [point_with(f"steady {n}.jpg", size=n // 20) for n in range(200)]
        await index.write(steady)
        done = asyncio.Event()

        async def write_on() -> None:
            number = 0
            while not done.is_set():
                number += 1
                await index.write([point_with(f"{number}.jpg", size=number % 12)])
                again = [
                    replace(one, payload=one.payload.model_copy(update={"version": number})) for one in steady[:40]
                ]
                await index.write(again)

        writing = asyncio.create_task(write_on())
        try:
            found = await pages_by(index, RangeField.SIZE, Where(), descending=False, limit=9)
        finally:
            done.set()
            await writing
        ids = [one.id for one in found]
        assert len(ids) == len(set(ids))
        assert {one.id for one in steady} <= set(ids)

    async def test_a_cursor_belongs_to_its_field_and_direction(self, index: VectorIndex) -> None:
        await index.write([point_with(f"{n}.jpg", taken_at=MOMENTS[n], size=n) for n in range(3)])
        page = await index.scroll_by(RangeField.TAKEN_AT, Where(), descending=True, limit=1)
        by_id = await index.scroll(Where(), limit=1)
        for field, descending, cursor in (
            (RangeField.TAKEN_AT, False, page.cursor),
            (RangeField.SIZE, True, page.cursor),
            (RangeField.TAKEN_AT, True, by_id.cursor),
            (RangeField.TAKEN_AT, True, "nonsense"),
            (RangeField.TAKEN_AT, True, ""),
            (RangeField.TAKEN_AT, True, "é" * 20),
        ):
            with pytest.raises(ValueError, match="no cursor"):
                await index.scroll_by(field, Where(), descending=descending, limit=1, cursor=cursor)
        with pytest.raises(ValueError, match="no cursor"):
            await index.scroll(Where(), limit=1, cursor=page.cursor)
        with pytest.raises(ValueError, match="limit"):
            await index.scroll_by(RangeField.TAKEN_AT, Where(), descending=True, limit=0)
