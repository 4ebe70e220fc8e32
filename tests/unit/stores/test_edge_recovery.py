"""What a crash, or a person, may leave on the disk, and what the next start makes of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import qdrant_edge as edge

from schemas.collection import Canary, CollectionMetadata, Status
from schemas.errors import ConfigurationError
from stores.edge import EdgeIndex
from stores.vectors import ForeignCollection, Where
from tests.unit.stores.index_points import ENCODER, METADATA, NOW, direction, key_id, point

ANY = Where(status=None)


@pytest.fixture
async def collection(tmp_path: Path) -> Path:
    """The folder of a closed collection with one point."""
    async with EdgeIndex(tmp_path, "images__m") as index:
        await index.ensure(METADATA)
        await index.write([point("a.jpg", 3)])
    return tmp_path / "images__m"


def damage_nothing(collection: Path) -> None:
    """The control: an ordinary start."""


def lose_metadata(collection: Path) -> None:
    (collection / "collection.json").unlink()


def tear_metadata(collection: Path) -> None:
    (collection / "collection.json").write_text('{"encoder": {"mod')


def tear_shard(collection: Path) -> None:
    [state] = collection.glob("shard/segments/*/segment.json")
    state.write_text("torn")


@pytest.mark.parametrize("damage", [damage_nothing, lose_metadata, tear_metadata])
async def test_points_tell_what_the_metadata_said(collection: Path, damage: Callable[[Path], None]) -> None:
    damage(collection)
    async with EdgeIndex(collection.parent, collection.name) as index:
        known = await index.metadata()
        assert known is not None
        assert known.encoder == ENCODER
        assert (await index.ensure(METADATA)).encoder == ENCODER
        assert [one.payload.version for one in await index.get([key_id("a.jpg")])] == [3]
        other = METADATA.model_copy(update={"encoder": ENCODER.model_copy(update={"fingerprint": "f-f-f"})})
        with pytest.raises(ForeignCollection):
            await index.ensure(other)
    kept = CollectionMetadata.model_validate_json((collection / "collection.json").read_text())
    assert kept.encoder == ENCODER


async def test_a_canary_is_there_after_the_next_start(collection: Path) -> None:
    canary = Canary(vectors={"photo": direction(1).tobytes()}, made_with={}, matched_with={}, matched_at=NOW)
    async with EdgeIndex(collection.parent, collection.name) as index:
        await index.keep_canary(canary)
    async with EdgeIndex(collection.parent, collection.name) as index:
        assert await index.metadata() == METADATA.model_copy(update={"canary": canary})
        assert [one.payload.version for one in await index.get([key_id("a.jpg")])] == [3]


async def test_metadata_without_a_shard_makes_an_empty_one(collection: Path) -> None:
    shutil.rmtree(collection / "shard")
    async with EdgeIndex(collection.parent, collection.name) as index:
        assert await index.metadata() == METADATA
        assert await index.count(ANY) == 0
        await index.write([point("b.jpg")])
        assert await index.count(Where(prefix="b")) == 1


async def test_a_shard_that_was_being_made_is_made_anew(tmp_path: Path, collection: Path) -> None:
    (collection / "shard").rename(collection / "shard.new")
    async with EdgeIndex(tmp_path, collection.name) as index:
        assert await index.count(ANY) == 0
        await index.write([point("b.jpg")])
    assert not (collection / "shard.new").exists()


async def test_an_empty_shard_without_metadata_may_become_any_encoders(tmp_path: Path) -> None:
    async with EdgeIndex(tmp_path, "images__m") as index:
        await index.ensure(METADATA)
    (tmp_path / "images__m" / "collection.json").unlink()
    wider = METADATA.model_copy(update={"encoder": ENCODER.model_copy(update={"dimension": 16})})
    async with EdgeIndex(tmp_path, "images__m") as index:
        assert await index.metadata() is None
        assert await index.ensure(wider) == wider
        await index.write([point("a.jpg", vector=direction(1, 16))])
        assert await index.count(Where()) == 1


async def test_a_shard_that_cannot_be_read_says_what_to_do_and_is_left_alone(collection: Path) -> None:
    tear_shard(collection)
    with pytest.raises(ConfigurationError, match=r"cannot be read.*Move that folder away.*built anew"):
        async with EdgeIndex(collection.parent, collection.name):
            pass
    assert (collection / "shard").is_dir()


async def test_payload_indexes_that_an_older_release_did_not_make_are_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("stores.edge_opening.PAYLOAD_INDEXES", {})
        async with EdgeIndex(tmp_path, "images__m") as index:
            await index.ensure(METADATA)
            await index.write([point("x/a.jpg"), point("y/a.jpg", 2)])
            assert await index.count(Where(prefix="x/")) == 1
    async with EdgeIndex(tmp_path, "images__m") as index:
        await index.ensure(METADATA)
        assert await index.count(Where(prefix="x/")) == 1
        # Ordering needs the index on `version`.
        assert await index.highest_version("folder", "photos") == 2


async def test_a_point_without_a_version_is_not_frozen(collection: Path) -> None:
    shard = edge.EdgeShard.load(str(collection / "shard"))
    stranger = edge.Point(key_id("b.jpg"), direction(1).tolist(), {"key": "b.jpg"})
    shard.update(edge.UpdateOperation.upsert_points([stranger]))
    shard.close()
    async with EdgeIndex(collection.parent, collection.name) as index:
        await index.write([point("b.jpg", 2)])
        await index.write([point("b.jpg", 1)])
        assert [one.payload.version for one in await index.get([key_id("b.jpg")])] == [2]


async def test_the_next_start_gives_the_space_of_a_sweep_back(collection: Path) -> None:
    shard = collection / "shard" / "segments"
    full = segments(shard)
    async with EdgeIndex(collection.parent, collection.name) as index:
        await index.write([point(f"{n}.jpg", 1) for n in range(2000)])
        await index.write([point(f"{n}.jpg", 2, status=Status.GONE) for n in range(1500)])
        await index.sweep_gone(before_version=3)
        assert await index.count(ANY) == 501
    assert segments(shard) == full
    async with EdgeIndex(collection.parent, collection.name) as index:
        assert segments(shard).isdisjoint(full)
        assert await index.count(ANY) == 501
        [nearest] = await index.search(direction(sum(b"1999.jpg") + 1), limit=1)
        assert nearest.score == pytest.approx(1.0, abs=1e-5)


def segments(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}
