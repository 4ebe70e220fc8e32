"""Tagging anew from stored vectors: beside other writers, stopped half way, and for nothing but the tags."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import AsyncQdrantClient

from schemas.collection import Status
from services.indexer import retag
from services.indexer.retag import Progress, Retagger
from stores.edge import EdgeIndex
from stores.qdrant_server import QdrantIndex
from stores.vectors import NewTags, Point, StoredPoint, VectorIndex, VectorPage, Where
from tests.unit.indexer.tagging import AxisTagging, axis, axis_tags
from tests.unit.stores.index_points import METADATA, point

ROOT = Path(__file__).resolve().parents[3]
ANY = Where(status=None)
NEW = AxisTagging("new")

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")


@pytest.fixture(params=["edge", "client"])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    async with AsyncExitStack() as stack:
        if request.param == "edge":
            opened: VectorIndex = await stack.enter_async_context(EdgeIndex(tmp_path, "images__m"))
        else:
            client = AsyncQdrantClient(":memory:")
            stack.push_async_callback(client.close)
            opened = await stack.enter_async_context(QdrantIndex("images__m", client=client))
        await opened.ensure(METADATA)
        yield opened


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retag, "PAGE", 2)


def image(key: str, version: int, status: Status = Status.INDEXED, words: str | None = "old") -> Point:
    """A point as an embedder with a vocabulary of those words leaves it; its vector depends on its version."""
    made = point(key, version, status=status, vector=axis(version), etag=f"{key} {version}")
    if status is not Status.INDEXED or words is None:
        return made
    tagging = AxisTagging(words)
    news = {"tags": axis_tags(axis(version), words), "tags_version": tagging.version}
    return Point(made.id, made.payload.model_copy(update=news), made.vector)


async def stored(index: VectorIndex) -> dict[UUID, StoredPoint]:
    return {one.id: one for one in (await index.scroll(ANY, limit=10_000, with_vectors=True)).points}


class Interrupted:
    """An index between whose calls something else happens."""

    def __init__(self, index: VectorIndex, happens: Callable[[], Awaitable[None]]) -> None:
        self._index = index
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    async def scroll_vectors(self, where: Where, *, limit: int, cursor: str | None = None) -> VectorPage:
        await self._happens()
        page = await self._index.scroll_vectors(where, limit=limit, cursor=cursor)
        await self._happens()
        return page

    async def set_tags(self, news: Sequence[NewTags]) -> None:
        await self._happens()
        await self._index.set_tags(news)
        await self._happens()


async def test_only_tags_and_their_version_change(index: VectorIndex) -> None:
    await index.write([image(f"{n}.jpg", n + 1) for n in range(7)])
    await index.write([image("gone.jpg", 3, Status.GONE), image("bad.jpg", 4, Status.REJECTED)])
    before = await stored(index)
    done = await Retagger(index, NEW).run()
    assert (done.images, done.left) == (7, 0)
    after = await stored(index)
    assert after.keys() == before.keys()
    for one, then in ((after[key], before[key]) for key in before):
        if then.payload.status is Status.INDEXED:
            assert one.vector is not None
            news = {"tags": axis_tags(one.vector, "new"), "tags_version": NEW.version}
            assert one.payload == then.payload.model_copy(update=news)
            assert (one.vector == then.vector).all()
        else:
            assert one.payload == then.payload


async def test_what_is_up_to_date_is_neither_read_nor_written_unless_everything_is_asked_for(
    index: VectorIndex,
) -> None:
    await index.write([image("a.jpg", 1), image("b.jpg", 2, words="new"), image("c.jpg", 3, words=None)])
    tagging = AxisTagging("new")
    assert await Retagger(index, tagging).outdated() == 2
    assert (await Retagger(index, tagging).run()).images == tagging.rows == 2
    assert (await Retagger(index, tagging).run()).images == 0
    assert (await Retagger(index, tagging, everything=True).run()).images == 3
    assert tagging.rows == 5


async def test_progress_goes_from_nothing_to_the_total(index: VectorIndex) -> None:
    await index.write([image(f"{n}.jpg", n) for n in range(5)])
    told: list[Progress] = []
    await Retagger(index, NEW).run(told.append)
    assert told == [Progress(done, 5) for done in (0, 2, 4, 5)]


async def test_a_sample_shows_old_and_new_tags_and_changes_nothing(index: VectorIndex) -> None:
    await index.write([image(f"{n}.jpg", n) for n in range(9)] + [image("now.jpg", 1, words="new")])
    before = {key: one.payload for key, one in (await stored(index)).items()}
    changes = await Retagger(index, NEW).sample()
    assert len(changes) == 5
    for change in changes:
        version = int(change.key.partition(".")[0])
        assert (change.bucket, change.before) == ("photos", axis_tags(axis(version), "old"))
        assert change.after == axis_tags(axis(version), "new")
    assert {key: one.payload for key, one in (await stored(index)).items()} == before


async def test_what_an_embedder_with_the_old_vocabulary_writes_meanwhile_is_done_too(index: VectorIndex) -> None:
    await index.write([image(f"{n}.jpg", n) for n in range(6)])
    more = iter([image("0.jpg", 50), image("new.jpg", 7), image("5.jpg", 60)])

    async def written() -> None:
        if (one := next(more, None)) is not None:
            await index.write([one])

    done = await Retagger(Interrupted(index, written), NEW).run()
    assert done.left == 0
    assert await index.count(Where(tags_not_of=NEW.version)) == 0
    assert {one.payload.version for one in (await stored(index)).values()} == {50, 1, 2, 3, 4, 60, 7}


async def test_a_writer_that_never_rests_is_told_of_and_does_not_keep_the_run(index: VectorIndex) -> None:
    await index.write([image("a.jpg", 1)])
    version = 1

    async def written() -> None:
        nonlocal version
        version += 1
        await index.write([image("a.jpg", version)])

    async with asyncio.timeout(30):
        done = await Retagger(Interrupted(index, written), NEW).run()
    assert done.left == 1


KEYS = ["a", "b", "c", "d", "e"]
WRITES = st.tuples(
    st.sampled_from(KEYS),
    st.integers(1, 4),
    st.sampled_from([Status.INDEXED, Status.INDEXED, Status.GONE, Status.REJECTED]),
    st.sampled_from(["old", "new", None]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.lists(WRITES, min_size=1, max_size=6),
    meanwhile=st.lists(st.lists(WRITES, max_size=2), max_size=12),
    everything=st.booleans(),
)
async def test_no_order_of_writes_loses_newer_tags_or_touches_what_is_gone(
    index: VectorIndex, first: list[Any], meanwhile: list[list[Any]], everything: bool
) -> None:
    folder = uuid4().hex
    written: dict[UUID, Point] = {}
    one_at_a_time = asyncio.Lock()
    coming = iter(meanwhile)

    async def write(looks: list[Any]) -> None:
        points = [image(f"{folder}/{key}", version, status, words) for key, version, status, words in looks]
        await index.write(points)
        for one in points:
            known = written.get(one.id)
            if known is None or one.payload.version >= known.payload.version:
                written[one.id] = one

    async def happens() -> None:
        async with one_at_a_time:
            await write(next(coming, []))

    await write(first)
    await Retagger(Interrupted(index, happens), NEW, everything=everything).run()

    async def check() -> None:
        found = await stored(index)
        for key, one in written.items():
            payload, then = found[key].payload, one.payload
            if payload != then:
                assert then.status is Status.INDEXED
                assert found[key].vector is not None
                # The tags of the very look that is stored, and all else as it was written.
                news = {"tags": axis_tags(axis(then.version), "new"), "tags_version": NEW.version}
                assert payload == then.model_copy(update=news)

    await check()
    for rest in coming:
        await write(rest)
    assert (await Retagger(index, NEW).run()).left == 0
    await check()
    images = [one for one in (await stored(index)).values() if one.payload.status is Status.INDEXED]
    assert {one.payload.tags_version for one in images} <= {NEW.version}
    await index.write([image(one.payload.key, 100, Status.GONE) for one in written.values()])
    await index.sweep_gone(before_version=101)


@pytest.mark.parametrize("pages", [1, 2, 4])
async def test_after_a_stop_the_next_run_does_the_rest_and_no_more(index: VectorIndex, pages: int) -> None:
    await index.write([image(f"{n}.jpg", n) for n in range(12)])
    reached = asyncio.Event()

    def told(progress: Progress) -> None:
        if progress.done >= 2 * pages:
            reached.set()

    running = asyncio.create_task(Retagger(index, NEW).run(told))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    rest = await Retagger(index, NEW).outdated()
    assert rest <= 12 - 2 * pages
    done = await Retagger(index, NEW).run()
    assert (done.images, done.left) == (rest, 0)


KILLED = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from services.indexer import retag
    from stores.edge import EdgeIndex
    from tests.unit.indexer.tagging import AxisTagging

    retag.PAGE = 20

    async def main():
        async with EdgeIndex(Path(sys.argv[1]), "images__m") as index:
            await retag.Retagger(index, AxisTagging("new")).run(lambda progress: print(progress.done, flush=True))
            await asyncio.sleep(60)

    asyncio.run(main())
    """
)


async def test_a_kill_in_the_middle_loses_no_tags_that_were_told_of(tmp_path: Path) -> None:
    async with EdgeIndex(tmp_path, "images__m") as index:
        await index.ensure(METADATA)
        await index.write([image(f"{n}.jpg", n) for n in range(2000)])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(tmp_path), stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    told = 0
    while told < 200:
        told = int(await process.stdout.readline())
    process.kill()
    await process.wait()
    async with EdgeIndex(tmp_path, "images__m") as index:
        rest = await Retagger(index, NEW).outdated()
        assert rest <= 2000 - told
        done = await Retagger(index, NEW).run()
        assert (done.images, done.left) == (rest, 0)
        assert len(await stored(index)) == 2000
