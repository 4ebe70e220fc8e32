"""What every `VectorIndex` promises, on Qdrant Edge, on the server's client code, and on a real server.

The third runs where QDRANT_URL names a server (and QDRANT_API_KEY, QDRANT_GRPC_PORT where it needs them).
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.collection import Canary, PointPayload, Status
from schemas.events import MAX_VERSION, Location, Tag
from stores.filters import KeywordField
from stores.vectors import Fate, ForeignCollection, NewTags, Point, StoredPoint, VectorIndex, VectorPage, Where
from tests.contracts.conftest import SERVER
from tests.unit.stores.index_points import (
    AXIS,
    DIMENSION,
    ENCODER,
    METADATA,
    NOW,
    at_cosine,
    direction,
    key_id,
    point,
)

ANY = Where(status=None)
CANARY = Canary(
    vectors={"photo": AXIS.tobytes()}, made_with={"torch": "1"}, matched_with={"torch": "2"}, matched_at=NOW
)

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")


@pytest.mark.qdrant
def test_a_real_server_was_asked_too() -> None:
    if not SERVER:
        pytest.skip("QDRANT_URL names no Qdrant server; start one (1.19 or newer) and name it")


async def everything(index: VectorIndex, where: Where = ANY, *, limit: int = 1000) -> list[StoredPoint]:
    found: list[StoredPoint] = []
    cursor = None
    while True:
        page = await index.scroll(where, limit=limit, cursor=cursor)
        found += page.points
        if page.cursor is None:
            return found
        cursor = page.cursor


def news(key: str, version: int, *tags: str, of: str = "new") -> NewTags:
    """New tags, each half as sure as the one before."""
    return NewTags(key_id(key), version, tuple(Tag(tag=tag, score=0.5 ** (n + 1)) for n, tag in enumerate(tags)), of)


def tagged(key: str, scores: dict[str, float]) -> Point:
    """A point with tags of these scores."""
    one = point(key)
    tags = tuple(Tag(tag=tag, score=score) for tag, score in scores.items())
    return replace(one, payload=one.payload.model_copy(update={"tags": tags}))


async def keys(index: VectorIndex, where: Where) -> set[str]:
    found = {one.payload.key for one in await everything(index, where)}
    assert await index.count(where) == len(found)
    if where.status is Status.INDEXED:
        assert {hit.payload.key for hit in await index.search(AXIS, limit=1000, where=where)} == found
    return found


class TestCollection:
    async def test_before_it_is_made_there_is_nothing_and_nothing_fails(self, bare: VectorIndex) -> None:
        assert await bare.metadata() is None
        assert await bare.search(AXIS, limit=3) == []
        assert await bare.get([key_id("a.jpg")]) == []
        page = await bare.scroll(ANY, limit=3)
        assert (list(page.points), page.cursor) == ([], None)
        assert await bare.count(ANY) == 0
        assert await bare.highest_version("folder", "photos") == 0
        await bare.sweep_gone(before_version=5)

    async def test_writing_before_it_is_made_is_a_bug_that_is_named(self, bare: VectorIndex) -> None:
        with pytest.raises(RuntimeError, match="call ensure before write"):
            await bare.write([point("a.jpg")])

    async def test_what_was_made_first_is_answered_ever_after(self, bare: VectorIndex) -> None:
        assert await bare.ensure(METADATA) == METADATA
        later = METADATA.model_copy(update={"created_at": NOW + timedelta(days=1)})
        assert await bare.ensure(later) == METADATA
        assert await bare.metadata() == METADATA

    async def test_many_may_make_it_at_once(self, bare: VectorIndex) -> None:
        offers = [METADATA.model_copy(update={"created_at": NOW + timedelta(seconds=n)}) for n in range(5)]
        made = await asyncio.gather(*(bare.ensure(offer) for offer in offers))
        assert all(one == made[0] for one in made)

    @pytest.mark.parametrize(
        "change",
        [{"model": "ViT-B-32/openai"}, {"fingerprint": "0a-1b-bf16"}, {"dimension": DIMENSION * 2}],
        ids=str,
    )
    async def test_another_encoder_is_refused_with_both_names(
        self, index: VectorIndex, change: dict[str, object]
    ) -> None:
        other = ENCODER.model_copy(update=change)
        with pytest.raises(ForeignCollection) as refused:
            await index.ensure(METADATA.model_copy(update={"encoder": other}))
        for encoder in (ENCODER, other):
            assert f"{encoder.model} ({encoder.fingerprint}, {encoder.dimension} numbers)" in str(refused.value)
        assert await index.metadata() == METADATA


class TestCanary:
    async def test_one_that_is_offered_with_the_collection_is_kept(self, bare: VectorIndex) -> None:
        offered = METADATA.model_copy(update={"canary": CANARY})
        assert await bare.ensure(offered) == offered
        assert await bare.metadata() == offered

    async def test_a_collection_that_was_made_without_one_takes_one_and_later_another(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg")])
        assert await index.keep_canary(CANARY) == METADATA.model_copy(update={"canary": CANARY})
        other = CANARY.model_copy(
            update={"vectors": {"drawing": b"\0" * 4 * DIMENSION}, "matched_with": {"torch": "3"}}
        )
        kept = await index.keep_canary(other)
        assert kept == METADATA.model_copy(update={"canary": other}), "nothing of the first one is left"
        assert await index.metadata() == kept
        assert await index.ensure(METADATA) == kept
        assert await index.count(ANY) == 1

    async def test_it_needs_a_collection(self, bare: VectorIndex) -> None:
        with pytest.raises(Exception, match=r"not exist|not found|doesn't exist"):
            await bare.keep_canary(CANARY)
        assert await bare.metadata() is None


class TestWriting:
    async def test_a_point_comes_back_as_it_was_written(self, index: VectorIndex) -> None:
        written = point("ferien 2026/Zürich+🏔️ 100%.jpg", 7, etag="abc", taken_at=NOW, uploaded_at=NOW)
        await index.write([written])
        [stored] = await index.get([written.id], with_vectors=True)
        assert (stored.id, stored.payload) == (written.id, written.payload)
        assert stored.vector is not None
        assert stored.vector.dtype == np.float32
        np.testing.assert_allclose(stored.vector, written.vector, atol=1e-6)  # type: ignore[arg-type]

    async def test_vectors_are_answered_only_when_asked_for(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg")])
        assert [one.vector for one in await index.get([key_id("a.jpg")])] == [None]
        assert [one.vector for one in await everything(index)] == [None]
        assert (await index.scroll(ANY, limit=1, with_vectors=True)).points[0].vector is not None

    async def test_points_that_do_not_exist_are_left_out(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg")])
        found = await index.get([key_id("a.jpg"), uuid4(), key_id("a.jpg")])
        assert [one.id for one in found] == [key_id("a.jpg")]

    async def test_writing_nothing_is_nothing(self, index: VectorIndex) -> None:
        assert list(await index.write([])) == []
        assert await index.count(ANY) == 0

    async def test_the_index_tells_what_became_of_each_point(self, index: VectorIndex) -> None:
        first = [point("new.jpg", 5, etag="a"), point("other.jpg", 5, etag="a")]
        assert list(await index.write(first)) == [Fate.CHANGED, Fate.CHANGED]
        offered = [
            (point("new.jpg", 4, etag="b"), Fate.STALE),
            (point("other.jpg", 6, etag="a"), Fate.SAME),
            (point("third.jpg", 1, etag="a"), Fate.CHANGED),
        ]
        assert list(await index.write([one for one, _ in offered])) == [fate for _, fate in offered]
        assert list(await index.write([point("other.jpg", 6, etag="a")])) == [Fate.AGAIN], "delivered again"
        assert list(await index.write([point("other.jpg", 7, etag="b")])) == [Fate.CHANGED], "overwritten"
        assert list(await index.write([point("other.jpg", 8, status=Status.GONE)])) == [Fate.CHANGED]
        assert list(await index.write([point("other.jpg", 9, status=Status.GONE)])) == [Fate.SAME]
        assert list(await index.write([point("other.jpg", 10, etag="b")])) == [Fate.CHANGED], "it came back"

    async def test_of_one_call_each_point_has_a_fate_of_its_own(self, index: VectorIndex) -> None:
        await index.write([point("known.jpg", 5, etag="a")])
        offered = [
            (point("a.jpg", 1, etag="old"), Fate.STALE),
            (point("a.jpg", 3, etag="tie"), Fate.AGAIN),
            (point("known.jpg", 2), Fate.STALE),
            (point("a.jpg", 3, etag="last"), Fate.CHANGED),
            (point("known.jpg", 4), Fate.STALE),
        ]
        assert list(await index.write([one for one, _ in offered])) == [fate for _, fate in offered]

    async def test_an_older_version_changes_nothing(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg", 5, vector=AXIS, etag="new")])
        await index.write([point("a.jpg", 4, vector=direction(1), etag="old")])
        [stored] = await index.get([key_id("a.jpg")], with_vectors=True)
        assert (stored.payload.version, stored.payload.etag) == (5, "new")
        np.testing.assert_allclose(stored.vector, AXIS, atol=1e-6)  # type: ignore[arg-type]

    async def test_the_same_version_is_written_again(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg", 5, etag="first")])
        await index.write([point("a.jpg", 5, etag="second")])
        [stored] = await index.get([key_id("a.jpg")])
        assert stored.payload.etag == "second"

    async def test_of_one_call_the_highest_version_stays_wherever_it_stands(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg", 5, etag="tie"), point("a.jpg", 5, etag="last tie"), point("a.jpg", 4)])
        [stored] = await index.get([key_id("a.jpg")])
        assert (stored.payload.version, stored.payload.etag) == (5, "last tie")

    @pytest.mark.parametrize("low", [1_772_368_217_042, 2**52 + 1, MAX_VERSION - 1])
    async def test_neighbouring_versions_are_told_apart(self, index: VectorIndex, low: int) -> None:
        await index.write([point("a.jpg", low, etag="low")])
        await index.write([point("a.jpg", low + 1, etag="high")])
        await index.write([point("a.jpg", low, etag="low again")])
        [stored] = await index.get([key_id("a.jpg")])
        assert (stored.payload.version, stored.payload.etag) == (low + 1, "high")
        assert await index.highest_version("folder", "photos") == low + 1

    async def test_a_late_write_cannot_bring_a_gone_image_back(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg", 1), point("b.jpg", 9, status=Status.GONE)])
        await index.write([point("a.jpg", 2, status=Status.GONE)])
        await index.write([point("a.jpg", 1), point("b.jpg", 8)])
        assert await index.search(AXIS, limit=10) == []
        found = await index.get([key_id("a.jpg"), key_id("b.jpg")], with_vectors=True)
        assert {(one.payload.status, one.vector is None) for one in found} == {(Status.GONE, True)}

    async def test_an_image_that_comes_back_is_found_again(self, index: VectorIndex) -> None:
        for version, status in enumerate([Status.INDEXED, Status.GONE, Status.REJECTED, Status.INDEXED]):
            await index.write([point("a.jpg", version, status=status)])
        assert [hit.payload.version for hit in await index.search(AXIS, limit=10)] == [3]

    @pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
    async def test_what_is_no_number_is_refused_and_nothing_is_written(self, index: VectorIndex, poison: float) -> None:
        vector = AXIS.copy()
        vector[3] = poison
        with pytest.raises(ValueError, match="NaN or infinity"):
            await index.write([point("good.jpg"), point("bad.jpg", vector=vector)])
        assert await index.count(ANY) == 0
        with pytest.raises(ValueError, match="NaN or infinity"):
            await index.search(vector, limit=1)

    async def test_a_vector_of_another_length_is_refused(self, index: VectorIndex) -> None:
        with pytest.raises(ValueError, match="shape"):
            await index.write([point("a.jpg", vector=direction(1, DIMENSION + 1))])
        with pytest.raises(ValueError, match="shape"):
            await index.search(direction(1, DIMENSION - 1), limit=1)

    async def test_concurrent_writers_leave_the_highest_version(self, index: VectorIndex) -> None:
        names = [f"{n}.jpg" for n in range(20)]
        await asyncio.gather(
            *(index.write([point(name, version) for name in names]) for version in [3, 9, 1, 7, 10, 2, 8])
        )
        assert {one.payload.version for one in await everything(index)} == {10}

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    async def test_any_order_and_grouping_of_writes_leaves_the_highest_version_last_of_its_ties(
        self, index: VectorIndex, data: st.DataObject
    ) -> None:
        bucket = uuid4().hex
        looks = data.draw(
            st.lists(
                st.tuples(
                    st.sampled_from(["a", "b", "c"]),
                    st.sampled_from([0, 1, 2, MAX_VERSION - 1, MAX_VERSION]),
                    st.sampled_from(Status),
                ),
                min_size=1,
                max_size=12,
            )
        )
        cuts = data.draw(st.sets(st.integers(1, len(looks))))
        writes = [
            point(key, version, bucket=bucket, status=status, etag=str(n))
            for n, (key, version, status) in enumerate(looks)
        ]
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(writes)], strict=True):
            await index.write(writes[start:end])
        expected: dict[UUID, PointPayload] = {}
        for one in writes:
            if one.id not in expected or one.payload.version >= expected[one.id].version:
                expected[one.id] = one.payload
        where = Where(status=None, bucket=bucket)
        assert {one.id: one.payload for one in await everything(index, where)} == expected
        alive = {one.key for one in expected.values() if one.status is Status.INDEXED}
        assert await keys(index, Where(bucket=bucket)) == alive
        assert await index.highest_version("folder", bucket) == max(one.version for one in expected.values())


class TestSearching:
    async def test_the_nearest_come_first_with_their_cosine(self, index: VectorIndex) -> None:
        await index.write([point(f"{c}.jpg", vector=at_cosine(c)) for c in (0.5, 0.9, -0.3, 0.0)])
        hits = await index.search(AXIS, limit=3)
        assert [hit.payload.key for hit in hits] == ["0.9.jpg", "0.5.jpg", "0.0.jpg"]
        assert [hit.score for hit in hits] == pytest.approx([0.9, 0.5, 0.0], abs=1e-6)
        assert hits[0].id == key_id("0.9.jpg")

    async def test_the_length_of_the_query_does_not_matter(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg", vector=at_cosine(0.5))])
        [hit] = await index.search(AXIS * 3, limit=1)
        assert hit.score == pytest.approx(0.5, abs=1e-6)

    async def test_a_threshold_is_the_least_score_to_answer(self, index: VectorIndex) -> None:
        await index.write([point(f"{c}.jpg", vector=at_cosine(c)) for c in (0.2, 0.5, 0.9)])
        middle = (await index.search(AXIS, limit=3))[1].score
        above = float(np.nextafter(np.float32(middle), np.float32(1)))
        assert len(await index.search(AXIS, limit=3, threshold=middle)) == 2
        assert len(await index.search(AXIS, limit=3, threshold=above)) == 1
        assert len(await index.search(AXIS, limit=3, threshold=-1.0)) == 3
        assert await index.search(AXIS, limit=3, threshold=0.95) == []

    @pytest.mark.parametrize("status", [Status.GONE, Status.REJECTED])
    async def test_what_is_gone_or_rejected_is_never_found(self, index: VectorIndex, status: Status) -> None:
        await index.write([point("a.jpg", 1, vector=AXIS), point("b.jpg", 1, vector=AXIS)])
        await index.write([point("a.jpg", 2, status=status), point("never.jpg", 1, status=status)])
        assert await keys(index, Where()) == {"b.jpg"}
        assert await keys(index, Where(status=status)) == {"a.jpg", "never.jpg"}
        assert await keys(index, ANY) == {"a.jpg", "b.jpg", "never.jpg"}

    async def test_a_limit_below_one_is_refused(self, index: VectorIndex) -> None:
        with pytest.raises(ValueError, match="limit"):
            await index.search(AXIS, limit=0)
        with pytest.raises(ValueError, match="limit"):
            await index.scroll(ANY, limit=0)


class TestFilters:
    async def test_prefixes_match_characters_not_patterns(self, index: VectorIndex) -> None:
        names = ["2026/märz/a.jpg", "2026/märz/b.jpg", "2026/mä", "2026/M", "x/2026/märz/a.jpg", "100%_*.jpg", "100x"]
        await index.write([point(name) for name in names])
        assert await keys(index, Where(prefix="2026/märz/")) == set(names[:2])
        assert await keys(index, Where(prefix="2026/mä")) == set(names[:3])
        assert await keys(index, Where(prefix="2026/m")) == set(names[:3])
        assert await keys(index, Where(prefix="100%_*")) == {"100%_*.jpg"}
        assert await keys(index, Where(prefix="nothing")) == set()
        assert await keys(index, Where(prefix="")) == set(names)

    async def test_a_bucket_is_a_whole_name(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg", bucket="photos"), point("b.jpg", bucket="photos-2")])
        assert await keys(index, Where(bucket="photos")) == {"a.jpg"}
        assert await keys(index, Where(bucket="photos", source="folder")) == {"a.jpg"}
        assert await keys(index, Where(bucket="photos", source="s3")) == set()

    async def test_times_include_their_beginning_and_exclude_their_end(self, index: VectorIndex) -> None:
        moment = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
        tick = timedelta(microseconds=1)
        await index.write(
            [
                point("a.jpg", taken_at=moment, uploaded_at=moment + tick),
                point("b.jpg", taken_at=moment + tick, uploaded_at=moment),
                point("c.jpg"),
            ]
        )
        elsewhere = moment.astimezone(timezone(timedelta(hours=5, minutes=45)))
        assert await keys(index, Where(taken_after=elsewhere)) == {"a.jpg", "b.jpg"}
        assert await keys(index, Where(taken_after=moment + tick)) == {"b.jpg"}
        assert await keys(index, Where(taken_before=moment + tick)) == {"a.jpg"}
        assert await keys(index, Where(taken_before=elsewhere)) == set()
        assert await keys(index, Where(uploaded_after=moment + tick, uploaded_before=moment + 2 * tick)) == {"a.jpg"}

    async def test_a_tag_and_its_least_score_are_of_one_tag_of_the_image(self, index: VectorIndex) -> None:
        tags = {
            "cat.jpg": {"cat": 0.9, "dog": 0.05},
            "dog.jpg": {"dog": 0.9, "cat": 0.1},
            "both.jpg": {"dog": 0.5, "cat": 0.5},
            "cats.jpg": {"cats": 1.0},
            "none.jpg": {},
        }
        await index.write([tagged(key, scores) for key, scores in tags.items()])
        assert await keys(index, Where(tag="cat")) == {"cat.jpg", "dog.jpg", "both.jpg"}
        assert await keys(index, Where(tag="cat", tag_score=0.0)) == {"cat.jpg", "dog.jpg", "both.jpg"}
        assert await keys(index, Where(tag="cat", tag_score=0.5)) == {"cat.jpg", "both.jpg"}
        assert await keys(index, Where(tag="cat", tag_score=0.95)) == set()
        assert await keys(index, Where(tag="Cat")) == set()
        assert await keys(index, Where(tag="cat", tag_score=0.5, prefix="both")) == {"both.jpg"}
        assert {hit.payload.key for hit in await index.search(AXIS, limit=9, where=Where(tag="cats"))} == {"cats.jpg"}

    async def test_a_place_is_kept_as_it_was_written(self, index: VectorIndex) -> None:
        one = point("a.jpg")
        here = Location(lat=-46.5475, lon=7.985)
        await index.write([replace(one, payload=one.payload.model_copy(update={"location": here, "orientation": 6}))])
        [stored] = await index.get([one.id])
        assert (stored.payload.location, stored.payload.orientation) == (here, 6)

    async def test_conditions_hold_together(self, index: VectorIndex) -> None:
        await index.write([point("x/a.jpg", taken_at=NOW), point("x/b.jpg"), point("y/a.jpg", taken_at=NOW)])
        assert await keys(index, Where(bucket="photos", prefix="x/", taken_after=NOW)) == {"x/a.jpg"}

    async def test_unwanted_points_are_left_out(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg"), point("b.jpg"), point("c.jpg")])
        assert await keys(index, Where(without=(key_id("a.jpg"), key_id("c.jpg"), uuid4()))) == {"b.jpg"}


class TestScrolling:
    async def test_pages_are_in_the_order_of_ids_and_hold_everything_once(self, index: VectorIndex) -> None:
        written = [point(f"{n}.jpg") for n in range(25)]
        await index.write(written)
        for limit in (1, 7, 24, 25, 26):
            assert [one.id for one in await everything(index, limit=limit)] == sorted(one.id for one in written)

    async def test_the_last_page_says_so_even_when_it_is_full(self, index: VectorIndex) -> None:
        await index.write([point(f"{n}.jpg") for n in range(4)])
        first = await index.scroll(ANY, limit=2)
        assert first.cursor is not None
        assert (await index.scroll(ANY, limit=2, cursor=first.cursor)).cursor is None

    async def test_writes_between_pages_neither_hide_nor_repeat_other_points(self, index: VectorIndex) -> None:
        before = [point(f"{n}.jpg") for n in range(30)]
        await index.write(before)
        seen: list[UUID] = []
        cursor, round_number = None, 0
        while True:
            page = await index.scroll(ANY, limit=4, cursor=cursor)
            seen += [one.id for one in page.points]
            round_number += 1
            await index.write([point(f"new {round_number}.jpg"), point(f"{round_number}.jpg", 2)])
            if page.cursor is None:
                break
            cursor = page.cursor
        assert seen == sorted(set(seen))
        assert {one.id for one in before} <= set(seen)

    async def test_a_cursor_survives_the_point_it_stands_on(self, index: VectorIndex) -> None:
        await index.write([point(f"{n}.jpg", 1, status=Status.GONE) for n in range(6)])
        page = await index.scroll(ANY, limit=3)
        await index.sweep_gone(before_version=2)
        await index.write([point(f"{n}.jpg", 3) for n in range(6)])
        rest = await index.scroll(ANY, limit=6, cursor=page.cursor)
        assert len(rest.points) == 3

    @pytest.mark.parametrize(
        "cursor", ["", "nonsense", "é", "6028c38d-7585-400c-b03a-1e7fd90297ae", "A" * 27, "A" * 5000]
    )
    async def test_a_cursor_that_no_page_answered_is_refused(self, index: VectorIndex, cursor: str) -> None:
        with pytest.raises(ValueError, match="no cursor of this index"):
            await index.scroll(ANY, limit=1, cursor=cursor)

    async def test_five_thousand_points_are_all_there(self, index: VectorIndex) -> None:
        written = [point(f"{n:05}.jpg", n) for n in range(5000)]
        for start in range(0, 5000, 500):
            await index.write(written[start : start + 500])
        assert await index.count(Where()) == 5000
        assert {one.id for one in await everything(index, limit=1500)} == {one.id for one in written}
        assert len(await index.get([one.id for one in written])) == 5000
        assert await index.highest_version("folder", "photos") == 4999
        assert await index.count(Where(prefix="04")) == 1000
        nearest = (await index.search(written[1234].vector, limit=5))[0]  # type: ignore[arg-type]
        assert nearest.score == pytest.approx(1.0, abs=1e-5)


class TestVersionsAndSweep:
    async def test_the_highest_version_is_that_of_the_bucket_of_any_status(self, index: VectorIndex) -> None:
        await index.write(
            [
                point("a.jpg", 3),
                point("b.jpg", 8, status=Status.GONE),
                point("c.jpg", 5, status=Status.REJECTED),
                point("d.jpg", 99, bucket="other"),
            ]
        )
        assert await index.highest_version("folder", "photos") == 8
        assert await index.highest_version("folder", "other") == 99
        assert await index.highest_version("s3", "photos") == 0

    async def test_the_sweep_takes_old_gone_points_and_nothing_else(self, index: VectorIndex) -> None:
        await index.write(
            [
                point("old.jpg", 4, status=Status.GONE),
                point("edge.jpg", 5, status=Status.GONE),
                point("live.jpg", 1),
                point("rejected.jpg", 1, status=Status.REJECTED),
            ]
        )
        await index.sweep_gone(before_version=5)
        assert await keys(index, ANY) == {"edge.jpg", "live.jpg", "rejected.jpg"}

    async def test_what_was_swept_may_come_again(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg", 4, status=Status.GONE)])
        await index.sweep_gone(before_version=5)
        await index.write([point("a.jpg", 1)])
        assert await keys(index, Where()) == {"a.jpg"}


class TestTags:
    """New tags for the very look that they were made from."""

    async def test_new_tags_replace_the_old_and_nothing_else_changes(self, index: VectorIndex) -> None:
        written = point("ferien/a.jpg", 7, etag="abc", taken_at=NOW, uploaded_at=NOW, tags=("old", "older"))
        other = point("b.jpg", 7, tags=("old",))
        await index.write([written, other])
        await index.set_tags([news("ferien/a.jpg", 7, "snow", "mountain", of="second")])
        [stored] = await index.get([written.id], with_vectors=True)
        tags = (Tag(tag="snow", score=0.5), Tag(tag="mountain", score=0.25))
        assert stored.payload == written.payload.model_copy(update={"tags": tags, "tags_version": "second"})
        np.testing.assert_allclose(stored.vector, written.vector, atol=1e-6)  # type: ignore[arg-type]
        assert [one.payload for one in await index.get([other.id])] == [other.payload]
        assert [hit.payload.key for hit in await index.search(written.vector, limit=1)] == ["ferien/a.jpg"]  # type: ignore[arg-type]

    async def test_no_tags_at_all_are_tags_too(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg", 7, tags=("old",))])
        await index.set_tags([news("a.jpg", 7, of="second")])
        [stored] = await index.get([key_id("a.jpg")])
        assert (stored.payload.tags, stored.payload.tags_version) == ((), "second")

    @pytest.mark.parametrize("stored_version", [6, 8, MAX_VERSION])
    async def test_another_look_keeps_the_tags_that_came_with_it(self, index: VectorIndex, stored_version: int) -> None:
        await index.write([point("a.jpg", stored_version, tags=("its own",))])
        before = await index.get([key_id("a.jpg")])
        await index.set_tags([news("a.jpg", 7, "other", of="second")])
        assert await index.get([key_id("a.jpg")]) == before

    async def test_neighbouring_looks_are_told_apart(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg", MAX_VERSION - 1)])
        await index.set_tags([news("a.jpg", MAX_VERSION, "wrong", of="second")])
        assert await index.count(Where(tags_not_of="second")) == 1
        await index.set_tags([news("a.jpg", MAX_VERSION - 1, "right", of="second")])
        assert await index.count(Where(tags_not_of="second")) == 0

    @pytest.mark.parametrize("status", [Status.GONE, Status.REJECTED])
    async def test_what_is_no_image_gets_no_tags_even_from_a_look_of_the_same_moment(
        self, index: VectorIndex, status: Status
    ) -> None:
        await index.write([point("a.jpg", 7), point("b.jpg", 7)])
        await index.write([point("a.jpg", 7, status=status)])
        await index.set_tags([news("a.jpg", 7, "late", of="second"), news("never.jpg", 7, "late", of="second")])
        [stored] = await index.get([key_id("a.jpg"), key_id("never.jpg")])
        assert (stored.payload.status, stored.payload.tags, stored.payload.tags_version) == (status, (), None)

    async def test_one_that_does_not_fit_keeps_none_of_the_others_from_being_tagged(self, index: VectorIndex) -> None:
        await index.write([point(f"{n}.jpg", 7 + n % 2) for n in range(300)])
        await index.set_tags([news(f"{n}.jpg", 7, "even", of="second") for n in range(301)])
        tagged = {one.payload.key for one in await everything(index) if one.payload.tags}
        assert tagged == {f"{n}.jpg" for n in range(0, 300, 2)}

    @pytest.mark.parametrize("later", [Status.INDEXED, Status.GONE, Status.REJECTED])
    async def test_what_changes_after_its_vector_was_read_keeps_the_tags_that_came_with_it(
        self, index: VectorIndex, later: Status
    ) -> None:
        names = ("stays.jpg", "changes.jpg", "forgotten.jpg", "late.jpg")
        await index.write([point(name, 7) for name in names])
        page = await index.scroll_vectors(ANY, limit=10)
        await index.write([point("changes.jpg", 8, status=later), point("forgotten.jpg", 8, status=Status.GONE)])
        # A look of a lower version is not written, and changes nothing.
        await index.write([point("late.jpg", 6, status=Status.GONE)])
        await index.sweep_gone(before_version=9)
        tags = (Tag(tag="second", score=0.5),)
        await index.set_tags(
            [NewTags(one, look, tags, "second") for one, look in zip(page.ids, page.versions, strict=True)]
        )
        tagged = {one.payload.key for one in await everything(index) if one.payload.tags}
        assert tagged == {"stays.jpg", "late.jpg"}

    async def test_tags_are_counted_and_found_by_whatever_name_they_have(self, index: VectorIndex) -> None:
        names = ("plain", "two words", 'a "quoted" one', "ねこ", "🐈", "back\\slash", "1", "null", "[]")
        await index.write([tagged(f"{n}.jpg", {name: 1.0 - n / 10}) for n, name in enumerate(names)])
        await index.write([tagged("all.jpg", dict.fromkeys(names, 0.05))])
        counts = await index.facet(KeywordField.TAG, Where(), limit=20)
        assert [(one.value, one.count) for one in counts] == [(name, 2) for name in sorted(names)]
        for n, name in enumerate(names):
            assert await keys(index, Where(tag=name)) == {f"{n}.jpg", "all.jpg"}
            assert await keys(index, Where(tag=name, tag_score=1.0 - n / 10)) == {f"{n}.jpg"}

    async def test_a_later_look_is_written_over_new_tags(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg", 7)])
        await index.set_tags([news("a.jpg", 7, "second", of="second")])
        await index.write([point("a.jpg", 8, tags=("third",))])
        [stored] = await index.get([key_id("a.jpg")])
        assert [one.tag for one in stored.payload.tags] == ["third"]

    async def test_tags_of_other_versions_are_found_and_those_without(self, index: VectorIndex) -> None:
        await index.write([point("a.jpg", tags=("x",)), point("b.jpg"), point("c.jpg", status=Status.GONE)])
        await index.set_tags([news("a.jpg", 1, "x", of="second")])
        assert await keys(index, Where(tags_not_of="second")) == {"b.jpg"}
        assert await keys(index, Where(tags_not_of="third")) == {"a.jpg", "b.jpg"}
        assert await keys(index, Where(tags_not_of="second", without=(key_id("b.jpg"),))) == set()

    async def test_vectors_come_by_the_page_with_the_looks_that_made_them(self, index: VectorIndex) -> None:
        points = [point(f"{n}.jpg", n + 1) for n in range(700)] + [point("gone.jpg", 5, status=Status.GONE)]
        await index.write(points)
        pages: list[VectorPage] = []
        while not pages or pages[-1].cursor is not None:
            pages.append(await index.scroll_vectors(ANY, limit=300, cursor=pages[-1].cursor if pages else None))
            assert len(pages[-1].ids) == len(pages[-1].versions) <= 300
            assert pages[-1].vectors.shape == (len(pages[-1].ids), DIMENSION)
            assert pages[-1].vectors.dtype == np.float32
        found = [
            (point_id, version, vector)
            for page in pages
            for point_id, version, vector in zip(page.ids, page.versions, page.vectors, strict=True)
        ]
        by_id = {one.id: one for one in points[:700]}
        assert [one[0] for one in found] == sorted(by_id)
        for point_id, version, vector in found:
            assert by_id[point_id].payload.version == version
            np.testing.assert_allclose(vector, by_id[point_id].vector, atol=1e-6)  # type: ignore[arg-type]

    async def test_before_the_collection_is_made_there_is_nothing_to_tag(self, bare: VectorIndex) -> None:
        page = await bare.scroll_vectors(Where(), limit=3)
        assert (list(page.ids), len(page.vectors), page.cursor) == ([], 0, None)
        await bare.set_tags([news("a.jpg", 1, "x")])
        assert await bare.count(ANY) == 0

    async def test_a_foreign_cursor_and_an_empty_limit_are_refused(self, index: VectorIndex) -> None:
        with pytest.raises(ValueError, match="cursor"):
            await index.scroll_vectors(ANY, limit=3, cursor="nonsense")
        with pytest.raises(ValueError, match="limit"):
            await index.scroll_vectors(ANY, limit=0)


class TestCallers:
    async def test_a_cancelled_caller_leaves_the_others_their_own_answers(self, index: VectorIndex) -> None:
        await index.write([point(f"{n}.jpg", vector=direction(n)) for n in range(50)])

        async def found(seed: int) -> str:
            return (await index.search(direction(seed), limit=1))[0].payload.key

        for round_number in range(5):
            searches = [asyncio.create_task(found(n)) for n in range(50)]
            write = asyncio.create_task(index.write([point(f"w{n}.jpg") for n in range(300)]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for n in range(round_number, 50, 3):
                searches[n].cancel()
            write.cancel()
            answers = await asyncio.gather(*searches, write, return_exceptions=True)
            for n, answer in enumerate(answers[:50]):
                assert isinstance(answer, asyncio.CancelledError) or answer == f"{n}.jpg"
        assert await found(7) == "7.jpg"

    async def test_other_points_of_other_ids_are_written_side_by_side(self, index: VectorIndex) -> None:
        parts: list[list[Point]] = [[point(f"{part}/{n}.jpg") for n in range(70)] for part in range(6)]
        await asyncio.gather(*(index.write(part) for part in parts))
        assert await index.count(Where()) == 420
