"""A shard that an earlier release wrote finds by every filter after its first start with this one."""

from dataclasses import replace
from pathlib import Path

import qdrant_edge as edge

from schemas.events import Tag
from stores.edge import EdgeIndex
from stores.edge_derived import INDEXES, key_starts
from stores.filters import KeywordField, Match, Not, RangeField, Tagged
from stores.vectors import Where
from tests.unit.stores.index_points import METADATA, key_id, point

COUNT = 1200
NEWER = ("width", "height", *INDEXES)
"""Payload indexes that earlier releases did not make."""


async def earlier(folder: Path) -> Path:
    """A collection as an earlier release left it: without some indexes, and without what is derived."""
    async with EdgeIndex(folder, "images__m") as index:
        await index.ensure(METADATA)
        points = [point(f"{n % 3}/{n}.jpg") for n in range(COUNT)]
        tags = (Tag(tag="cat", score=0.7),)
        await index.write(
            [replace(one, payload=one.payload.model_copy(update={"tags": tags, "width": 5})) for one in points]
        )
    shard = edge.EdgeShard.load(str(folder / "images__m" / "shard"))
    for name in NEWER:
        shard.update(edge.UpdateOperation.delete_field_index(name))
    shard.update(edge.UpdateOperation.delete_payload([one.id for one in points], list(INDEXES)))
    assert not set(NEWER) & set(shard.info().payload_schema)
    assert not set(INDEXES) & set(shard.retrieve([points[0].id], True, False)[0].payload or {})
    shard.close()
    return folder / "images__m"


async def test_everything_is_found_and_ordered_after_the_first_start(tmp_path: Path) -> None:
    collection = await earlier(tmp_path)
    async with EdgeIndex(tmp_path, collection.name) as index:
        before = await index.get([key_id("0/0.jpg")])
        for where, count in (
            (Where(prefix="1/"), COUNT // 3),
            (Where(prefix="1/10"), 39),
            (Where(tag="cat", tag_score=0.6), COUNT),
            (Where(tag="cat", tag_score=0.8), 0),
            (Where(filter=Not(Tagged("cat", 0.7))), 0),
            (Where(filter=Match(KeywordField.TAG, "cat")), COUNT),
        ):
            assert await index.count(where) == count, where
        assert len((await index.scroll_by(RangeField.WIDTH, Where(), descending=True, limit=COUNT)).points) == COUNT
        assert [one.payload.width for one in before] == [5]
    shard = edge.EdgeShard.load(str(collection / "shard"))
    assert set(NEWER) <= set(shard.info().payload_schema)
    [record] = shard.retrieve([key_id("0/0.jpg")], True, False)
    assert (record.payload or {})["key_starts"] == key_starts("0/0.jpg")
    shard.close()


async def test_what_was_broken_off_is_finished_by_the_next_start(tmp_path: Path) -> None:
    collection = await earlier(tmp_path)
    shard = edge.EdgeShard.load(str(collection / "shard"))
    shard.update(edge.UpdateOperation.set_payload([key_id("1/1.jpg")], {"key_starts": key_starts("1/1.jpg")}))
    shard.close()
    async with EdgeIndex(tmp_path, collection.name) as index:
        assert await index.count(Where(prefix="1/")) == COUNT // 3


async def test_what_is_derived_is_nobody_elses(tmp_path: Path) -> None:
    async with EdgeIndex(tmp_path, "images__m") as index:
        await index.ensure(METADATA)
        written = point("a/b.jpg", tags=("cat",))
        await index.write([written])
        channel = await index._connected()
        for answer in (
            await channel.ask("get", ids=[written.id.bytes], with_vectors=False),
            (await channel.ask("scroll", where={}, limit=1, start=None, with_vectors=False))[0],
            await channel.ask("ordered", field="indexed_at", where={}, descending=True, limit=1),
        ):
            assert answer[0][1] == written.payload.as_json()
        vector = written.vector.tobytes()  # type: ignore[union-attr]
        [hit] = await channel.ask("search", vector=vector, limit=1, threshold=None, where={}, with_vectors=False)
        assert hit[2] == written.payload.as_json()
