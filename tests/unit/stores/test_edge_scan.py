"""The codes by which Edge scans, and the nearest of all that are sifted, change no answer."""

import json
import math
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import qdrant_edge as edge

from schemas.collection import CollectionMetadata, Status
from schemas.events import EncoderIdentity
from stores import edge_queries
from stores.edge import EdgeIndex
from stores.edge_config import NEVER
from stores.edge_filters import edge_filter, parts_of
from stores.edge_wire import ranked, where_on_wire
from stores.filters import AllOf, AnyOf, Between, KeywordField, Match, Not, RangeField
from stores.vectors import Point, Ranked, Vectors, Where
from tests.unit.stores.index_points import NOW, point

DIMENSION, GROUPS, ALIKE = 64, 40, 75
COUNT = GROUPS * ALIKE
METADATA = CollectionMetadata(
    encoder=EncoderIdentity(model="m", fingerprint="0-0-fp32", dimension=DIMENSION), created_at=NOW
)
SIFTED: dict[str, tuple[Where, Callable[[int], bool]]] = {
    "most": (Where(bucket="photos", filter=Between(RangeField.SIZE, 600, None)), lambda size: size >= 600),
    "a third": (Where(filter=Between(RangeField.SIZE, 1000, 2000)), lambda size: 1000 <= size < 2000),
    "two ends": (
        Where(filter=AnyOf((Between(RangeField.SIZE, None, 900), Between(RangeField.SIZE, 2400, None)))),
        lambda size: size < 900 or size >= 2400,
    ),
    "not some": (Where(filter=Not(Match(KeywordField.CAMERA, "1"))), lambda size: size % 10 != 1),
    "few": (Where(filter=Between(RangeField.SIZE, 500, 503)), lambda size: 500 <= size < 503),
    "none": (Where(filter=Between(RangeField.SIZE, 10_000, None)), lambda size: False),
}


def vectors() -> Vectors:
    """Groups of images of which all look much alike: whatever is a little off, is seen."""
    chance = np.random.default_rng(3)
    centres = np.repeat(chance.normal(size=(GROUPS, DIMENSION)) + 0.8, ALIKE, axis=0)
    rows = centres + 0.05 * chance.normal(size=centres.shape)
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


ROWS = vectors()


def points() -> list[Point]:
    """With the number of each as its size, and the last digit as its camera."""
    made = [point(f"{n}.jpg", vector=row) for n, row in enumerate(ROWS)]
    return [
        replace(one, payload=one.payload.model_copy(update={"size": n, "camera": str(n % 10)}))
        for n, one in enumerate(made)
    ]


POINTS = points()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests of this file share an index."""
    return tmp_path_factory.mktemp("scan")


@pytest.fixture
async def index(folder: Path) -> AsyncIterator[EdgeIndex]:
    """All the points."""
    async with EdgeIndex(folder, "images__m") as index:
        if await index.metadata() is None:
            await index.ensure(METADATA)
            await index.write(POINTS)
        yield index


def nearest(query: np.ndarray, limit: int, holds: np.ndarray) -> list[tuple[UUID, float]]:
    """By brute force."""
    scores = (ROWS @ query).astype(np.float64)
    best = sorted((-scores[n], POINTS[n].id) for n in np.flatnonzero(holds))[:limit]
    return [(one, -score) for score, one in best]


@pytest.mark.parametrize("limit", [1, 20, 53, 400])
@pytest.mark.parametrize("kind", [None, *SIFTED])
async def test_the_nearest_are_the_nearest_and_have_their_cosines(
    index: EdgeIndex, kind: str | None, limit: int
) -> None:
    where, condition = SIFTED[kind] if kind else (Where(), lambda size: True)
    holds = np.array([condition(n) for n in range(COUNT)])
    for n in (5, 777, 2999):
        query = ROWS[n] + 0.1 * ROWS[(n + 1500) % COUNT]
        query /= np.linalg.norm(query)
        expected = nearest(query, limit, holds)
        hits = await index.search(query, limit=limit, where=where)
        assert len(hits) == len(expected)
        # In the order of scores that differ by less than rounding, either may come first.
        np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in expected], atol=3e-7)
        same = await index.rank(query, limit=limit, where=where)
        assert [(one.id, one.score) for one in same] == [(hit.id, hit.score) for hit in hits]


@pytest.fixture
def shard(folder: Path, index: EdgeIndex, tmp_path: Path) -> Iterator[edge.EdgeShard]:
    """A copy of the shard with all the points, in this process."""
    shutil.copytree(folder / "images__m" / "shard", tmp_path / "shard")
    shard = edge.EdgeShard.load(str(tmp_path / "shard"))
    yield shard
    shard.close()


@contextmanager
def sifting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[Ranked]]]:
    """Rankings of the shard of a closed index, in which Edge walks through nothing that can be sifted."""
    monkeypatch.setattr(edge_queries, "WALK", math.inf)
    shard = edge.EdgeShard.load(str(folder / "images__m" / "shard"))

    def rank(query: np.ndarray, limit: int, where: Where, threshold: float | None = None) -> list[Ranked]:
        wire = where_on_wire(where, of_vectors=True)
        return ranked(*edge_queries.rank(shard, query.tobytes(), limit, threshold, wire), -math.inf)

    yield rank
    shard.close()


def sifted(shard: edge.EdgeShard, query: np.ndarray, limit: int, where: Where) -> list[edge.ScoredPoint] | None:
    """The answer by the nearest of all points alone."""
    wire = where_on_wire(where, of_vectors=True)
    condition = edge_filter(wire, shard, searched=True)
    assert condition is not None
    return edge_queries._sifted(shard, query.tolist(), limit, condition, parts_of(wire))


@pytest.mark.parametrize(("kind", "limit"), [("most", 20), ("a third", 20), ("two ends", 20), ("not some", 250)])
def test_a_broad_filter_is_looked_at_for_the_nearest_alone(
    shard: edge.EdgeShard, monkeypatch: pytest.MonkeyPatch, kind: str, limit: int
) -> None:
    monkeypatch.setattr(edge_queries, "WALK", math.inf)
    where, condition = SIFTED[kind]
    holds = np.array([condition(n) for n in range(COUNT)])
    for n in (900, 1500, 2300):
        found = sifted(shard, ROWS[n], limit, where)
        expected = nearest(ROWS[n], limit, holds)
        assert found is not None
        assert [hit.score for hit in found] == pytest.approx([score for _, score in expected], abs=3e-7)
        # And up to a score, the last digit included.
        least = found[limit // 2].score
        bound = float(np.nextafter(np.float32(least), -1))
        wire = where_on_wire(where, of_vectors=True)
        ids, scores = edge_queries.rank(shard, ROWS[n].tobytes(), limit, bound, wire)
        above = [hit for hit in found if hit.score >= least]
        assert [one.score for one in ranked(ids, scores, -math.inf)] == [hit.score for hit in above]


@pytest.mark.parametrize("holds_for", ["the nearest half", "every other", "the farthest half"])
def test_a_filter_that_holds_for_other_images_than_the_nearest_loses_none(
    shard: edge.EdgeShard, monkeypatch: pytest.MonkeyPatch, holds_for: str
) -> None:
    monkeypatch.setattr(edge_queries, "WALK", math.inf)
    query = ROWS[900]
    by_distance = np.argsort(-(ROWS @ query))
    chosen = {
        "the nearest half": by_distance[: COUNT // 2],
        "every other": by_distance[::2],
        "the farthest half": by_distance[COUNT // 2 :],
    }[holds_for]
    holds = np.isin(np.arange(COUNT), chosen)
    where = Where(bucket="photos", without=tuple(POINTS[n].id for n in np.flatnonzero(~holds)))
    ids, scores = edge_queries.rank(shard, query.tobytes(), 40, None, where_on_wire(where, of_vectors=True))
    expected = nearest(query, 40, holds)
    assert [one.score for one in ranked(ids, scores, -math.inf)] == pytest.approx(
        [score for _, score in expected], abs=3e-7
    )


def test_edge_walks_where_a_filter_holds_for_few_and_the_nearest_are_sifted_where_for_many(
    shard: edge.EdgeShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if there were a hundred times as many points.
    for name in ("WALK", "EACH", "SCAN"):
        monkeypatch.setattr(edge_queries, name, 100 * getattr(edge_queries, name))
    assert sifted(shard, ROWS[600], 20, Where(filter=Between(RangeField.SIZE, 500, 700))) is None
    assert sifted(shard, ROWS[600], 20, Where(filter=Between(RangeField.SIZE, 500, None))) is not None
    # One of many values is found by its own index, however many there are.
    values = AnyOf(tuple(Match(KeywordField.CAMERA, str(n)) for n in range(100, 116)))
    few = AllOf((Match(KeywordField.CAMERA, "1"), Between(RangeField.SIZE, 500, 1500)))
    assert sifted(shard, ROWS[600], 20, Where(filter=AnyOf((values, few)))) is None
    # And nobody is sifted among thousands.
    assert sifted(shard, ROWS[600], 600, Where(filter=Between(RangeField.SIZE, 500, 2500))) is None


def test_a_condition_that_is_too_broad_to_be_walked_is_looked_at_for_every_point(
    shard: edge.EdgeShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As much as the codes of all points and the sifting, for some 600 points.
    monkeypatch.setattr(edge_queries, "WALK", (COUNT * edge_queries.SCAN + 300 * edge_queries.SIFT) / 600)
    narrow, broad = (Where(filter=Between(RangeField.SIZE, 500, end)) for end in (850, 900))
    assert sifted(shard, ROWS[600], 20, narrow) is None
    assert sifted(shard, ROWS[600], 20, broad) is not None


def copies(cosine: float, count: int) -> Vectors:
    """Unit vectors that have about this cosine with one another."""
    chance = np.random.default_rng(11)
    rows = chance.normal(size=DIMENSION) + np.sqrt(1 / cosine - 1) * chance.normal(size=(count, DIMENSION))
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.mark.parametrize("cosine", [0.99, 0.999, 0.9999, 0.999999])
@pytest.mark.parametrize("where", [Where(), Where(bucket="photos")], ids=["all", "filtered"])
async def test_near_copies_are_told_apart_however_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cosine: float, where: Where
) -> None:
    rows = copies(cosine, COUNT)
    async with EdgeIndex(tmp_path, "images__m") as index:
        await index.ensure(METADATA)
        await index.write([replace(one, vector=row) for one, row in zip(POINTS, rows, strict=True)])
    with sifting(tmp_path, monkeypatch) as rank:
        for n in (3, 1500):
            expected = np.sort(rows @ rows[n])[::-1]
            for limit in (1, 31, 150):
                found = rank(rows[n], limit, where)
                np.testing.assert_allclose([one.score for one in found], expected[:limit], atol=3e-7)


async def test_the_only_one_above_a_threshold_is_found_among_many_just_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = copies(0.999, 1)[0]
    async with EdgeIndex(tmp_path, "images__m") as index:
        await index.ensure(METADATA)
        await index.write([replace(one, vector=below) for one in POINTS[:900]])
    for n, gap in enumerate((0.0002, 0.0005, 0.001, 0.01)):
        query = ROWS[n] - (ROWS[n] @ below) * below
        query = (0.6 * below + 0.8 * query / np.linalg.norm(query)).astype(np.float32)
        aside = query - (query @ below) * below
        nearer = (0.6 + gap) * below + np.sqrt(1 - (0.6 + gap) ** 2) * aside / np.linalg.norm(aside)
        best = replace(POINTS[-1], vector=nearer.astype(np.float32))
        async with EdgeIndex(tmp_path, "images__m") as index:
            await index.write([best])
        between = (float(query @ best.vector) + float(query @ below)) / 2
        with sifting(tmp_path, monkeypatch) as rank:
            for where in (Where(), Where(bucket="photos")):
                assert [one.id for one in rank(query, 30, where, between)] == [best.id], gap


@pytest.mark.parametrize(
    "where",
    [Where(bucket="photos"), Where(without=(POINTS[0].id,)), *(where for where, _ in SIFTED.values())],
    ids=["bucket", "without", *SIFTED],
)
async def test_an_index_without_any_vector_answers_nothing(tmp_path: Path, where: Where) -> None:
    async with EdgeIndex(tmp_path, "images__m") as index:
        await index.ensure(METADATA)
        assert await index.search(ROWS[0], limit=20, where=where) == []
        await index.write([point("a.jpg", status=Status.REJECTED)])
        assert await index.rank(ROWS[0], limit=20, where=where) == []


async def test_points_of_one_score_come_in_the_order_of_ids_where_points_are_sifted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = [replace(one, vector=ROWS[0]) for one in POINTS[:1500]]
    async with EdgeIndex(tmp_path, "images__m") as index:
        await index.ensure(METADATA)
        await index.write([*same, *POINTS[1500:]])
    where = Where(filter=Not(Match(KeywordField.CAMERA, "1")))
    expected = sorted(one.id for one in same if one.payload.camera != "1")
    with sifting(tmp_path, monkeypatch) as rank:
        for limit in (10, 60, 700):
            assert [one.id for one in rank(ROWS[0], limit, where)] == expected[:limit]


async def test_a_shard_without_codes_gets_them_at_its_next_start(tmp_path: Path) -> None:
    async with EdgeIndex(tmp_path, "images__m") as index:
        await index.ensure(METADATA)
    shard = tmp_path / "images__m" / "shard"
    for file in sorted(shard.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    earlier = edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(size=DIMENSION, distance=edge.Distance.Cosine),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=NEVER, max_segment_size=NEVER),
        wal_enabled=True,
    )
    made = edge.EdgeShard.create(str(shard), earlier)
    for one in POINTS:
        assert one.vector is not None
        made.update(
            edge.UpdateOperation.upsert_points([edge.Point(one.id, one.vector.tolist(), one.payload.as_json())])
        )
    made.close()
    assert not list(shard.rglob("quantized*"))
    async with EdgeIndex(tmp_path, "images__m") as index:
        assert await index.count(Where()) == COUNT
        best = await index.search(ROWS[42], limit=5)
        assert [hit.id for hit in best] == [one for one, _ in nearest(ROWS[42], 5, np.ones(COUNT, dtype=bool))]
        newer = point("newer.jpg", vector=ROWS[42])
        await index.write([newer])
        assert {hit.id for hit in await index.rank(ROWS[42], limit=2)} == {POINTS[42].id, newer.id}
    assert list(shard.rglob("quantized*"))
    assert "turbo" in json.loads((shard / "edge_config.json").read_text())["vectors"][""]["quantization_config"]


@pytest.mark.parametrize("broken", [None, "{}"])
async def test_a_shard_whose_layout_cannot_be_read_is_searched_all_the_same(tmp_path: Path, broken: str | None) -> None:
    async with EdgeIndex(tmp_path, "images__m") as index:
        await index.ensure(METADATA)
        await index.write(POINTS[:50])
    layout = tmp_path / "images__m" / "shard" / "edge_config.json"
    layout.unlink() if broken is None else layout.write_text(broken)
    async with EdgeIndex(tmp_path, "images__m") as index:
        [best] = await index.search(ROWS[7], limit=1)
        assert best.id == POINTS[7].id
