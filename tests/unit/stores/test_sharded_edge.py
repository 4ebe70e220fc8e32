"""Edge in several shards: how many there are, what falls to which, and what is left when one of them dies."""

import asyncio
import os
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
from stores.vectors import FacetCount, ForeignCollection, Point, Where
from tests.unit.stores.index_points import AXIS, DIMENSION, METADATA, NOW, at_cosine, point
from tests.unit.stores.test_edge_process import alive, gone, until

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

    async def test_each_shard_has_a_part(self, tmp_path: Path) -> None:
        async with ShardedEdge(tmp_path, "images__m", shards=3) as index:
            await index.ensure(METADATA)
            await index.write([point(f"{n}.jpg") for n in range(90)])
        counts = []
        for folder, name in ((tmp_path, "images__m"), *((tmp_path / "images__m" / "shards", one) for one in "12")):
            async with EdgeIndex(folder, name) as shard:
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

    async def test_the_settings_say_how_many(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path, edge=EdgeSettings(shards=2))
        async with make_index(Parts.make(settings)) as index:
            assert isinstance(index, ShardedEdge)
            assert len(index.process_ids) == 2

    async def test_nobody_says_how_many(self, tmp_path: Path) -> None:
        async with ShardedEdge(tmp_path, "images__m") as index:
            assert len(index.process_ids) == min(4, len(os.sched_getaffinity(0)))


class TestMadeInPart:
    """What a crash leaves between the first shard that is made and the last."""

    async def test_only_another_one_was_made(self, tmp_path: Path) -> None:
        async with EdgeIndex(tmp_path / "images__m" / "shards", "1") as one:
            await one.ensure(METADATA)
        async with ShardedEdge(tmp_path, "images__m", shards=2) as index:
            assert await index.metadata() == METADATA
            await index.write([point(f"{n}.jpg") for n in range(10)])
            assert await index.count(ANY) == 10

    async def test_only_the_first_was_made(self, tmp_path: Path) -> None:
        async with EdgeIndex(tmp_path, "images__m") as first:
            await first.ensure(METADATA)
        (tmp_path / "images__m" / "shards" / "1").mkdir(parents=True)
        async with ShardedEdge(tmp_path, "images__m", shards=2) as index:
            await index.write([point(f"{n}.jpg") for n in range(10)])
            assert await index.count(ANY) == 10

    async def test_a_shard_of_another_model_is_refused_by_name(self, tmp_path: Path) -> None:
        async with EdgeIndex(tmp_path, "images__m") as first:
            await first.ensure(METADATA)
        async with EdgeIndex(tmp_path / "images__m" / "shards", "1") as one:
            await one.ensure(OTHER)
        with pytest.raises(ForeignCollection, match=r"shards/1 was made for other"):
            async with ShardedEdge(tmp_path, "images__m", shards=2):
                pass

    async def test_a_shard_that_somebody_else_has_open_leaves_nothing_running(self, tmp_path: Path) -> None:
        async with ShardedEdge(tmp_path, "images__m", shards=3) as index:
            await index.ensure(METADATA)
        async with EdgeIndex(tmp_path / "images__m" / "shards", "1"):
            with pytest.raises(ConfigurationError, match=r"shards/1 is open in another"):
                async with ShardedEdge(tmp_path, "images__m", lock_wait=0.05):
                    pass
            # The locks of the others are free again.
            async with EdgeIndex(tmp_path, "images__m", lock_wait=0.05):
                pass
            async with EdgeIndex(tmp_path / "images__m" / "shards", "2", lock_wait=0.05):
                pass


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


class TestAShardThatDies:
    async def test_callers_are_told_and_the_next_call_has_everything(self, index: ShardedEdge) -> None:
        await index.write([point(f"{n}.jpg") for n in range(60)])
        victim = index.process_ids[1]
        os.kill(victim, signal.SIGKILL)
        await gone(victim)
        told = 0
        async with asyncio.timeout(15):
            while True:
                try:
                    hits = await index.search(AXIS, limit=60)
                    break
                except DependencyUnavailable:
                    told += 1
        assert len(hits) == 60
        assert victim not in index.process_ids
        assert len(index.process_ids) == 3

    async def test_leaving_ends_all_processes(self, tmp_path: Path) -> None:
        async with ShardedEdge(tmp_path, "images__m", shards=3) as index:
            children = index.process_ids
        await until(lambda: not any(map(alive, children)))
