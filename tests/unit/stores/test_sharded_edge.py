"""Edge in several shards: how many there are, what falls to which, and what is left when one of them dies."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from cli.indexes import make_index
from cli.parts import Parts
from runtime.settings import EdgeSettings, Settings
from schemas.collection import CollectionMetadata
from schemas.errors import ConfigurationError, DependencyUnavailable
from schemas.events import EncoderIdentity
from stores.edge import EdgeIndex
from stores.filters import KeywordField
from stores.sharded_edge import ShardedEdge
from stores.vectors import FacetCount, Fate, ForeignCollection, Point, Where
from tests.unit.stores.index_points import AXIS, DIMENSION, METADATA, NOW, at_cosine, point
from tests.unit.stores.test_edge_process import alive, until

ANY = Where(status=None)
OTHER = CollectionMetadata(
    encoder=EncoderIdentity(model="other", fingerprint="1-1-fp32", dimension=DIMENSION), created_at=NOW
)


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[ShardedEdge]:
    async with ShardedEdge(tmp_path, "images__m", shards=3) as opened:
        await opened.ensure(METADATA)
        yield opened


def of_shard(number: int, count: int, shards: int = 3) -> list[Point]:
    """Points that all fall to one shard, the nearest to the axis first."""
    return [
        replace(point(f"{number}/{n}.jpg", vector=at_cosine(0.9 - n / 1000)), id=UUID(int=shards * n + number))
        for n in range(count)
    ]


def is_asked(index: ShardedEdge, number: int) -> bool:
    """Whether the process of a shard has something to answer."""
    channel = index._shards[number]._channel
    return channel is not None and bool(channel._waiting)


def open_locks(folder: Path) -> int:
    """How many times this process has the lock of the collection's folder open."""
    lock = folder / "images__m" / "lock"
    return sum(os.path.realpath(one) == str(lock) for one in Path("/proc/self/fd").iterdir())


async def keys(index: ShardedEdge | EdgeIndex) -> set[str]:
    page = await index.scroll(ANY, limit=1000)
    return {one.payload.key for one in page.points}


class TestHowMany:
    async def test_a_collection_keeps_the_number_it_was_made_with(self, tmp_path: Path) -> None:
        names = {f"{n}.jpg" for n in range(30)}
        async with ShardedEdge(tmp_path, "images__m", shards=3) as index:
            await index.ensure(METADATA)
            await index.write([point(name) for name in names])
        for asked in (1, 5):
            async with ShardedEdge(tmp_path, "images__m", shards=asked) as index:
                assert len(index.process_ids) == 3
                assert await keys(index) == names

    async def test_a_collection_that_was_never_made_has_no_number(self, tmp_path: Path) -> None:
        for asked in (3, 1, 2):
            async with ShardedEdge(tmp_path, "images__m", shards=asked) as index:
                assert len(index.process_ids) == asked
                assert await index.metadata() is None

    async def test_each_shard_has_a_part(self, tmp_path: Path) -> None:
        async with ShardedEdge(tmp_path, "images__m", shards=3) as index:
            await index.ensure(METADATA)
            await index.write([point(f"{n}.jpg") for n in range(90)])
        counts = []
        for number in range(3):
            async with EdgeIndex(tmp_path / "images__m" / "shards-of-3", str(number)) as shard:
                counts.append(await shard.count(ANY))
        assert sum(counts) == 90
        assert min(counts) > 15

    async def test_a_folder_of_an_earlier_release_stays_one_shard(self, tmp_path: Path) -> None:
        async with EdgeIndex(tmp_path, "images__m") as earlier:
            await earlier.ensure(METADATA)
            await earlier.write([point(f"{n}.jpg") for n in range(10)])
        async with ShardedEdge(tmp_path, "images__m", shards=3) as index:
            await index.ensure(METADATA)
            assert len(index.process_ids) == 1
            await index.write([point(f"{n}.jpg", 2) for n in range(20)])
            assert await index.count(ANY) == 20

    async def test_what_an_earlier_release_wrote_beside_shards_is_left_alone(self, tmp_path: Path) -> None:
        async with ShardedEdge(tmp_path, "images__m", shards=2) as index:
            await index.ensure(METADATA)
            await index.write([point("new.jpg")])
        async with EdgeIndex(tmp_path, "images__m") as earlier:
            await earlier.ensure(METADATA)
            await earlier.write([point("old.jpg")])
        async with ShardedEdge(tmp_path, "images__m") as index:
            assert await keys(index) == {"new.jpg"}

    async def test_the_settings_say_how_many(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path, edge=EdgeSettings(shards=2))
        async with make_index(Parts.make(settings)) as index:
            assert isinstance(index, ShardedEdge)
            assert len(index.process_ids) == 2

    @pytest.mark.parametrize(("processors", "shards"), [(1, 1), (3, 3), (64, 4)])
    async def test_nobody_says_how_many(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int, shards: int
    ) -> None:
        monkeypatch.setattr("stores.sharded_edge.usable_processors", lambda: processors)
        async with ShardedEdge(tmp_path, "images__m") as index:
            assert len(index.process_ids) == shards


class TestMadeInPart:
    """What a crash leaves between the first shard that is made and the last, and what somebody took away."""

    @pytest.mark.parametrize("made", [0, 1])
    async def test_the_other_one_is_made(self, tmp_path: Path, made: int) -> None:
        async with EdgeIndex(tmp_path / "images__m" / "shards-of-2", str(made)) as one:
            await one.ensure(METADATA)
        async with ShardedEdge(tmp_path, "images__m", shards=4) as index:
            assert len(index.process_ids) == 2
            assert await index.metadata() == METADATA
            await index.write([point(f"{n}.jpg") for n in range(10)])
            assert await index.count(ANY) == 10

    @pytest.mark.parametrize("taken", [0, 2])
    async def test_a_shard_that_was_taken_away_comes_back_empty(self, tmp_path: Path, taken: int) -> None:
        points = [point(f"{n}.jpg") for n in range(60)]
        async with ShardedEdge(tmp_path, "images__m", shards=3) as index:
            await index.ensure(METADATA)
            await index.write(points)
        shutil.rmtree(tmp_path / "images__m" / "shards-of-3" / str(taken))
        async with ShardedEdge(tmp_path, "images__m") as index:
            left = {one.id for one in points if one.id.int % 3 != taken}
            assert {one.id for one in (await index.scroll(ANY, limit=100)).points} == left
            await index.write(points)
            assert [one.id for one in (await index.scroll(ANY, limit=100)).points] == sorted(one.id for one in points)

    async def test_a_shard_of_another_model_is_refused_by_name(self, tmp_path: Path) -> None:
        for number, metadata in ((0, METADATA), (1, OTHER)):
            async with EdgeIndex(tmp_path / "images__m" / "shards-of-2", str(number)) as one:
                await one.ensure(metadata)
        with pytest.raises(ForeignCollection, match=r"shards-of-2/1 was made for other"):
            async with ShardedEdge(tmp_path, "images__m"):
                pass


class TestOneAtATime:
    async def test_a_second_opener_is_told_who_has_it(self, index: ShardedEdge, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=rf"images__m is open in another .* \(process {os.getpid()}\)"):
            async with ShardedEdge(tmp_path, "images__m", lock_wait=0.05):
                pass

    async def test_nobody_takes_it_while_the_process_of_a_shard_is_dead(
        self, index: ShardedEdge, tmp_path: Path
    ) -> None:
        os.kill(index.process_ids[0], signal.SIGKILL)
        with pytest.raises(ConfigurationError, match="is open in another"):
            async with ShardedEdge(tmp_path, "images__m", lock_wait=0.05):
                pass
        assert await index.count(ANY) == 0

    async def test_an_earlier_release_waits_too(self, index: ShardedEdge, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="is open in another"):
            async with EdgeIndex(tmp_path, "images__m", lock_wait=0.05):
                pass

    async def test_a_shard_that_cannot_be_opened_leaves_nothing_running_and_no_lock(self, tmp_path: Path) -> None:
        async with ShardedEdge(tmp_path, "images__m", shards=3) as index:
            await index.ensure(METADATA)
        async with EdgeIndex(tmp_path / "images__m" / "shards-of-3", "1"):
            with pytest.raises(ConfigurationError, match=r"shards-of-3/1 is open in another"):
                async with ShardedEdge(tmp_path, "images__m", lock_wait=0.05):
                    pass
        async with ShardedEdge(tmp_path, "images__m", lock_wait=0.05):
            pass

    async def test_who_waits_and_gives_up_leaves_no_lock(self, tmp_path: Path) -> None:
        async with ShardedEdge(tmp_path, "images__m", shards=2) as index:
            await index.ensure(METADATA)
            waiting = asyncio.create_task(ShardedEdge(tmp_path, "images__m").__aenter__())
            await until(lambda: open_locks(tmp_path) == 2)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert open_locks(tmp_path) == 1
        async with ShardedEdge(tmp_path, "images__m", lock_wait=0.05):
            pass

    async def test_before_it_is_opened_nothing_is_answered(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="is not open"):
            await ShardedEdge(tmp_path, "images__m").count(ANY)


class TestAnswers:
    async def test_the_best_may_all_be_in_one_shard(self, index: ShardedEdge) -> None:
        near = of_shard(1, 40)
        await index.write([*near, *(replace(one, vector=at_cosine(0.1)) for one in of_shard(2, 40))])
        hits = await index.search(AXIS, limit=30, with_vectors=True)
        assert [hit.id for hit in hits] == [one.id for one in near[:30]]
        assert [hit.payload.key for hit in hits] == [f"1/{n}.jpg" for n in range(30)]
        assert all(hit.vector is not None for hit in hits)

    async def test_pages_of_points_that_are_all_in_one_shard(self, index: ShardedEdge) -> None:
        await index.write(of_shard(2, 25))
        for limit in (1, 7, 25, 26):
            found, cursor = [], None
            while True:
                page = await index.scroll(ANY, limit=limit, cursor=cursor)
                found += [one.id for one in page.points]
                cursor = page.cursor
                if cursor is None:
                    break
                assert len(page.points) == limit
            assert found == [UUID(int=3 * n + 2) for n in range(25)]

    async def test_a_value_that_is_seldom_in_each_shard(
        self, index: ShardedEdge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("stores.merging.FACET_SLACK", 0)
        own = [
            replace(one, payload=point("own.jpg", bucket=f"own-{n}").payload)
            for n in range(3)
            for one in of_shard(n, 4)
        ]
        shared = [
            replace(one, id=UUID(int=one.id.int + 300), payload=point("shared.jpg", bucket="shared").payload)
            for n in range(3)
            for one in of_shard(n, 2)
        ]
        await index.write([*own, *shared])
        # Each shard has four of its own and two of the shared: the most frequent of each is not that of all.
        assert await index.facet(KeywordField.BUCKET, ANY, limit=1) == [FacetCount("shared", 6)]

    async def test_a_bad_vector_keeps_all_shards_as_they_were(self, index: ShardedEdge) -> None:
        bad = replace(of_shard(2, 1)[0], vector=at_cosine(float("nan")))
        with pytest.raises(ValueError, match="NaN"):
            await index.write([*of_shard(0, 3), *of_shard(1, 3), bad])
        assert await index.count(ANY) == 0

    async def test_nothing_to_write_needs_no_collection(self, tmp_path: Path) -> None:
        async with ShardedEdge(tmp_path, "images__m", shards=2) as index:
            assert await index.write([]) == []

    async def test_a_page_of_vectors_has_no_more_than_was_asked_for(self, index: ShardedEdge) -> None:
        await index.write([point(f"{n}.jpg") for n in range(20)])
        found: list[UUID] = []
        cursor = None
        while True:
            page = await index.scroll_vectors(ANY, limit=2, cursor=cursor)
            assert len(page.ids) <= 2
            found += page.ids
            cursor = page.cursor
            if cursor is None:
                break
        assert found == sorted(point(f"{n}.jpg").id for n in range(20))


class TestAShardThatDies:
    async def test_amid_writes_the_others_keep_theirs_and_a_second_try_writes_the_rest(
        self, index: ShardedEdge
    ) -> None:
        points = [*of_shard(0, 30), *of_shard(1, 30), *of_shard(2, 30)]
        victim = index.process_ids[1]
        os.kill(victim, signal.SIGSTOP)
        writing = asyncio.create_task(index.write(points))
        await until(lambda: is_asked(index, 1))
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(DependencyUnavailable, match="SIGKILL"):
            await writing
        fates = await index.write(points)
        # Whoever is told of a failure finds the others' points written, and none of the rest still on its way.
        assert fates == [Fate.AGAIN] * 30 + [Fate.CHANGED] * 30 + [Fate.AGAIN] * 30
        assert await index.count(ANY) == 90

    async def test_callers_are_told_and_the_next_call_has_everything(self, index: ShardedEdge) -> None:
        await index.write([point(f"{n}.jpg") for n in range(60)])
        victim = index.process_ids[1]
        os.kill(victim, signal.SIGSTOP)
        search = asyncio.create_task(index.search(AXIS, limit=60))
        await until(lambda: is_asked(index, 1))
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(DependencyUnavailable, match="SIGKILL"):
            await search
        assert len(await index.search(AXIS, limit=60)) == 60
        assert victim not in index.process_ids
        assert len(index.process_ids) == 3

    async def test_leaving_ends_all_processes(self, tmp_path: Path) -> None:
        async with ShardedEdge(tmp_path, "images__m", shards=3) as index:
            children = index.process_ids
        await until(lambda: not any(map(alive, children)))
