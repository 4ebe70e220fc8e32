"""The process that holds the shard: who may open it, what outlives it, and when it ends."""

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, DependencyUnavailable
from stores.edge import EdgeIndex
from stores.vectors import Where
from tests.unit.stores.index_points import AXIS, METADATA, key_id, point

ANY = Where(status=None)
ROOT = Path(__file__).resolve().parents[3]

WRITER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from stores.edge import EdgeIndex
    from tests.unit.stores.index_points import METADATA, point

    async def main():
        async with EdgeIndex(Path(sys.argv[1]), "images__m") as index:
            await index.ensure(METADATA)
            print(index.process_id, flush=True)
            for batch in range(1_000_000):
                await index.write([point(f"{batch}/{n}.jpg", batch) for n in range(8)])
                print(batch, flush=True)

    asyncio.run(main())
    """
)


def alive(pid: int) -> bool:
    """Whether a process still runs; a zombie that nobody reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def until(happened: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if happened():
                return
            await asyncio.sleep(0.01)


async def gone(pid: int) -> None:
    await until(lambda: not alive(pid))


async def noticed(index: EdgeIndex) -> None:
    """The first call after a kill may still meet the end of the old process."""
    with contextlib.suppress(DependencyUnavailable):
        await index.count(ANY)


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[EdgeIndex]:
    async with EdgeIndex(tmp_path, "images__m") as opened:
        await opened.ensure(METADATA)
        yield opened


def process_of(index: EdgeIndex) -> int:
    assert index.process_id is not None
    return index.process_id


class TestEnding:
    async def test_leaving_ends_the_process_and_keeps_everything(self, tmp_path: Path) -> None:
        async with EdgeIndex(tmp_path, "images__m") as index:
            await index.ensure(METADATA)
            await index.write([point("a.jpg", 3)])
            pid = process_of(index)
        assert not alive(pid)
        async with EdgeIndex(tmp_path, "images__m") as index:
            assert await index.metadata() == METADATA
            assert [one.payload.version for one in await index.get([key_id("a.jpg")])] == [3]

    async def test_what_was_asked_before_leaving_is_answered(self, tmp_path: Path) -> None:
        index = await EdgeIndex(tmp_path, "images__m").__aenter__()
        await index.ensure(METADATA)
        writes = [asyncio.create_task(index.write([point(f"{n}.jpg")])) for n in range(40)]
        await asyncio.sleep(0)
        await index.__aexit__(None, None, None)
        done = await asyncio.gather(*writes, return_exceptions=True)
        async with EdgeIndex(tmp_path, "images__m") as again:
            there = {one.payload.key for one in (await again.scroll(ANY, limit=100)).points}
        assert {f"{n}.jpg" for n, result in enumerate(done) if result is None} <= there

    async def test_asking_after_leaving_is_a_bug_that_is_named(self, tmp_path: Path) -> None:
        async with EdgeIndex(tmp_path, "images__m") as index:
            pass
        with pytest.raises(RuntimeError, match="inside `async with`"):
            await index.count(ANY)

    async def test_the_signals_of_a_terminal_or_a_supervisor_do_not_end_it(self, index: EdgeIndex) -> None:
        pid = process_of(index)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        await index.write([point("a.jpg")])
        assert await index.count(ANY) == 1
        assert index.process_id == pid


class TestKilledChild:
    async def test_callers_are_told_and_the_next_call_starts_it_again(self, index: EdgeIndex) -> None:
        await index.write([point("a.jpg", 3)])
        os.kill(process_of(index), signal.SIGSTOP)
        calls = [asyncio.create_task(index.search(AXIS, limit=1)) for _ in range(5)]
        await asyncio.sleep(0)
        os.kill(process_of(index), signal.SIGKILL)
        for result in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(result, DependencyUnavailable)
            assert result.dependency == "edge"
            assert "SIGKILL" in str(result)
        await noticed(index)
        assert [hit.payload.version for hit in await index.search(AXIS, limit=1)] == [3]

    async def test_whatever_was_answered_outlives_kills_amid_writes(self, index: EdgeIndex) -> None:
        answered: dict[str, int] = {}
        attempts = 0

        async def write_for_ever(writer: int) -> None:
            nonlocal attempts
            for version in range(1, 1_000_000):
                names = [f"{writer}/{n}.jpg" for n in range(40)]
                attempts += 1
                with contextlib.suppress(DependencyUnavailable):
                    await index.write([point(name, version) for name in names])
                    answered.update(dict.fromkeys(names, version))

        writers = [asyncio.create_task(write_for_ever(n)) for n in range(3)]
        for _ in range(4):
            enough = attempts + 12
            await until(lambda enough=enough: attempts >= enough)  # type: ignore[misc]
            os.kill(process_of(index), signal.SIGKILL)
            await gone(process_of(index))
        for task in writers:
            task.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        await noticed(index)
        page = await index.scroll(ANY, limit=1000)
        stored = {one.payload.key: one.payload.version for one in page.points}
        assert answered
        assert {name: stored.get(name, -1) >= version for name, version in answered.items()} == dict.fromkeys(
            answered, True
        )

    async def test_a_restart_that_finds_another_owner_waits_instead_of_ending_the_program(self, tmp_path: Path) -> None:
        async with EdgeIndex(tmp_path, "images__m", lock_wait=0.05) as index:
            await index.ensure(METADATA)
            os.kill(process_of(index), signal.SIGKILL)
            await gone(process_of(index))
            async with EdgeIndex(tmp_path, "images__m") as thief:
                assert await thief.metadata() == METADATA
                await noticed(index)
                with pytest.raises(DependencyUnavailable, match="open in another sightline process"):
                    await index.count(ANY)
            assert await index.count(ANY) == 0


class TestKilledParent:
    async def test_the_child_follows_and_all_that_was_answered_is_there(self, tmp_path: Path) -> None:
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(tmp_path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout is not None
        child = int(await parent.stdout.readline())
        last = -1
        while last < 20:
            last = int(await parent.stdout.readline())
        parent.kill()
        # The pipe may hold more answers than were read.
        for line in (await parent.stdout.read()).split():
            last = int(line)
        await parent.wait()
        await gone(child)
        async with EdgeIndex(tmp_path, "images__m", lock_wait=10.0) as index:
            found = await index.get([key_id(f"{batch}/{n}.jpg") for batch in range(last + 1) for n in range(8)])
        assert len(found) == 8 * (last + 1)

    async def test_both_killed_at_once_lose_nothing_that_was_answered(self, tmp_path: Path) -> None:
        parent = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WRITER,
            str(tmp_path),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert parent.stdout is not None
        child = int(await parent.stdout.readline())
        while int(await parent.stdout.readline()) < 20:
            pass
        os.killpg(parent.pid, signal.SIGKILL)
        last = max(int(line) for line in (b"20 " + await parent.stdout.read()).split())
        await parent.wait()
        await gone(child)
        async with EdgeIndex(tmp_path, "images__m") as index:
            assert await index.highest_version("folder", "photos") >= last
            assert await index.count(Where(prefix=f"{last}/")) == 8

    async def test_the_child_ends_even_while_a_copy_of_the_parent_keeps_the_socket_open(self, tmp_path: Path) -> None:
        forking = WRITER.replace(
            "print(index.process_id, flush=True)",
            "import os, time\n"
            "        copy = os.fork()\n"
            "        if copy == 0: os.close(1); time.sleep(60); os._exit(0)\n"
            "        print(index.process_id, copy, flush=True)\n",
        )
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", forking, str(tmp_path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout is not None
        child, copy = map(int, (await parent.stdout.readline()).split())
        try:
            parent.kill()
            await parent.wait()
            await gone(child)
            assert alive(copy)
        finally:
            os.kill(copy, signal.SIGKILL)


class TestLock:
    async def test_a_second_opener_is_told_where_who_and_what_to_do(self, index: EdgeIndex, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError) as refused:
            async with EdgeIndex(tmp_path, "images__m", lock_wait=0.05):
                pass
        sentence = str(refused.value)
        assert str(tmp_path / "images__m") in sentence
        assert f"open in another sightline process (process {os.getpid()})" in sentence
        assert "--data-dir" in sentence
        # The attempt did the first one no harm.
        await index.write([point("a.jpg")])
        assert await index.count(ANY) == 1

    async def test_a_second_opener_waits_for_the_first_to_leave(self, tmp_path: Path) -> None:
        first = await EdgeIndex(tmp_path, "images__m").__aenter__()
        await first.ensure(METADATA)
        second = EdgeIndex(tmp_path, "images__m", lock_wait=10.0)
        opening = asyncio.create_task(second.__aenter__())
        await first.write([point("a.jpg")])
        await first.__aexit__(None, None, None)
        await opening
        assert await second.count(ANY) == 1
        await second.__aexit__(None, None, None)

    async def test_one_folder_holds_collections_side_by_side(self, index: EdgeIndex, tmp_path: Path) -> None:
        async with EdgeIndex(tmp_path, "images__other") as other:
            await other.ensure(METADATA)
            await other.write([point("a.jpg")])
        assert await index.count(ANY) == 0

    async def test_a_folder_that_cannot_be_made_has_its_own_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(ConfigurationError, match=r"cannot be opened.*--data-dir"):
            async with EdgeIndex(tmp_path / "file", "images__m"):
                pass


class TestQuiet:
    async def test_a_quiet_moment_brings_everything_to_the_disk(self, index: EdgeIndex) -> None:
        await index.write([point(f"{n}.jpg") for n in range(100)])
        facts = await index.facts()
        assert (facts.points, facts.segments) == (100, 1)
        for _ in range(20):
            # Longer than the pause that counts as quiet.
            await asyncio.sleep(0.5)
            if (await index.facts()).unflushed == 0:
                return
        pytest.fail("nothing was flushed in ten seconds of quiet")


class TestWorkingDirectory:
    async def test_it_starts_from_anywhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        elsewhere = tmp_path / "elsewhere"
        (elsewhere / "stores").mkdir(parents=True)
        (elsewhere / "stores" / "__init__.py").write_text("raise SystemExit('the wrong package')")
        monkeypatch.chdir(elsewhere)
        async with EdgeIndex(Path("data"), "images__m") as index:
            await index.ensure(METADATA)
        assert (elsewhere / "data" / "images__m" / "collection.json").is_file()
