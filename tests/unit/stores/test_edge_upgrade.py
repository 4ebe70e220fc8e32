"""A shard that an earlier release wrote finds by every filter after its first start with this one."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as edge
from hypothesis import given
from hypothesis import strategies as st

from schemas.collection import PAYLOAD_INDEXES, Status
from schemas.events import Tag
from stores.edge import EdgeIndex
from stores.edge_conversion import index_schema
from stores.edge_derived import INDEXES, REPLACED, asked_codes, kept, key_starts, tag_codes
from stores.edge_frames import unpack_value
from stores.filters import KeywordField, Match, Not, RangeField, Tagged
from stores.vectors import FacetCount, Point, Where
from tests.unit.stores.index_points import METADATA, key_id, point

COUNT = 1200
TAGS = [{"tag": "cat", "score": 0.7}]
NEWER = ("width", "height", *INDEXES)
"""Payload indexes that earlier releases did not make."""


def others() -> list[Point]:
    """Points without tags."""
    return [point("plain.jpg"), point("gone.jpg", status=Status.GONE), point("bad.jpg", status=Status.REJECTED)]


async def earlier(folder: Path) -> Path:
    """A collection as an earlier release left it: without some indexes, and without what is derived."""
    async with EdgeIndex(folder, "images__m") as index:
        await index.ensure(METADATA)
        points = [point(f"{n % 3}/{n}.jpg") for n in range(COUNT)]
        tags = tuple(Tag.model_validate(one) for one in TAGS)
        await index.write(
            [replace(one, payload=one.payload.model_copy(update={"tags": tags, "width": 5})) for one in points]
        )
    shard = edge.EdgeShard.load(str(folder / "images__m" / "shard"))
    for name in NEWER:
        shard.update(edge.UpdateOperation.delete_field_index(name))
    for name in REPLACED:
        shard.update(edge.UpdateOperation.create_field_index(name, index_schema(PAYLOAD_INDEXES[name].value)))
    ids: list[UUID | int | str] = [one.id for one in points]
    shard.update(edge.UpdateOperation.delete_payload(ids, list(INDEXES)))
    shard.update(edge.UpdateOperation.set_payload(ids, {"tags": TAGS}))
    for one in others():
        fields = {**one.payload.as_json(), "tags": []}
        vector = {} if one.vector is None else one.vector.tolist()
        shard.update(edge.UpdateOperation.upsert_points([edge.Point(one.id, vector, fields)]))
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
            (Where(filter=Not(Tagged("cat", 0.7))), 1),
            (Where(filter=Match(KeywordField.TAG, "cat")), COUNT),
        ):
            assert await index.count(where) == count, where
        assert len((await index.scroll_by(RangeField.WIDTH, Where(), descending=True, limit=COUNT)).points) == COUNT
        assert [(one.payload.width, one.payload.tags) for one in before] == [(5, (Tag(tag="cat", score=0.7),))]
        assert await index.facet(KeywordField.TAG, Where(), limit=2) == [FacetCount("cat", COUNT)]
        for other in others():
            [read] = await index.get([other.id], with_vectors=True)
            assert read.payload == other.payload
            assert (read.vector is None) is (other.vector is None)
        [tagged] = await index.get([key_id("1/1.jpg")], with_vectors=True)
        np.testing.assert_allclose(tagged.vector, point("1/1.jpg").vector, atol=1e-6)  # type: ignore[arg-type]
    shard = edge.EdgeShard.load(str(collection / "shard"))
    assert set(NEWER) <= set(shard.info().payload_schema)
    assert not set(REPLACED) & set(shard.info().payload_schema)
    [record] = shard.retrieve([key_id("0/0.jpg")], True, False)
    assert (record.payload or {})["key_starts"] == key_starts("0/0.jpg")
    assert (record.payload or {})["tags"] == '[["cat",0.7]]'
    shard.close()


async def test_what_was_broken_off_is_finished_by_the_next_start(tmp_path: Path) -> None:
    collection = await earlier(tmp_path)
    shard = edge.EdgeShard.load(str(collection / "shard"))
    shard.update(edge.UpdateOperation.set_payload([key_id("1/1.jpg")], kept({"key": "1/1.jpg", "tags": TAGS})))
    for name, kind in INDEXES.items():
        shard.update(edge.UpdateOperation.create_field_index(name, index_schema(kind)))
    shard.update(edge.UpdateOperation.delete_field_index(REPLACED[0]))
    shard.close()
    async with EdgeIndex(tmp_path, collection.name) as index:
        assert await index.count(Where(prefix="1/")) == COUNT // 3
        assert await index.count(Where(tag="cat", tag_score=0.7)) == COUNT
        assert await index.facet(KeywordField.TAG, Where(), limit=2) == [FacetCount("cat", COUNT)]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_a_higher_score_has_no_lower_code(scores: list[float]) -> None:
    codes = tag_codes({"tag": "cat", "score": score} for score in sorted({0.0, 0.5, 1.0, *scores}))
    assert codes == sorted(codes)
    assert (codes[0], codes[-1]) == (asked_codes("cat", 0)[0], asked_codes("cat", 1)[0])
    assert codes[-1] not in codes[:-1]


async def test_what_is_kept_beside_a_payload_is_not_read(tmp_path: Path) -> None:
    async with EdgeIndex(tmp_path, "images__m") as index:
        await index.ensure(METADATA)
        written = point("a/b.jpg", tags=("cat",))
        await index.write([written])
        channel = await index._connected()
        vector = written.vector.tobytes()  # type: ignore[union-attr]
        asked: dict[str, Any] = {"limit": 1, "threshold": None, "where": {}, "with_vectors": False}
        for payload in (
            (await channel.ask("get", ids=[written.id.bytes], with_vectors=False))[0][1],
            (await channel.ask("scroll", where={}, limit=1, start=None, with_vectors=False))[0][0][1],
            (await channel.ask("ordered", field="indexed_at", where={}, descending=True, limit=1))[0][1],
            unpack_value((await channel.ask("search", vector=vector, **asked))[2][0])[1],
        ):
            assert set(payload) == set(written.payload.as_json())
        [read] = await index.get([written.id])
        assert read.payload == written.payload
