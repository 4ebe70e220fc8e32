"""The watch on real folders, with a publisher that records. Waits end when what they wait for happens."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime.batch import Publisher
from runtime.retry import RetryPolicy
from schemas.codec import Message, decode_image_event
from schemas.errors import DependencyUnavailable
from schemas.events import EventKind, EventOrigin, ImageEvent
from services.ingest import folder_changes, folder_watch
from services.ingest.folder_watch import FolderWatch
from services.ingest.patterns import KeyPatterns
from stores.folder import FolderClock, FolderStore

SETTLE = 0.4
FEEDS = pytest.mark.parametrize("polling", [False, True], ids=["notified", "compared"])


class Recorder(Publisher):
    """Remembers what was published, and wakes whoever waits for it."""

    def __init__(self) -> None:
        self.events: list[tuple[float, ImageEvent]] = []
        self.batches: list[int] = []
        self.failures = 0
        self._news = asyncio.Condition()

    async def publish(self, messages: Sequence[Message]) -> None:
        async with self._news:
            if self.failures:
                self.failures -= 1
                raise DependencyUnavailable("kafka", "the broker is away", "Start it")
            self.batches.append(len(messages))
            self.events += [(time.monotonic(), decode_image_event(m.value, m.headers)) for m in messages]
            self._news.notify_all()

    def hinted(self, kind: EventKind | None = None) -> list[str]:
        return [event.key for _, event in self.events if kind in (None, event.kind)]

    async def until(self, happened: Callable[[], bool], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(happened)


async def until(happened: Callable[[], bool]) -> None:
    """For what nobody announces."""
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class Watched:
    def __init__(self, root: Path, watch: FolderWatch, out: Recorder, known: set[str], gaps: list[float]) -> None:
        self.root, self.watch, self.out, self.known, self.gaps = root, watch, out, known, gaps

    def write(self, key: str, data: bytes = b"x") -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    async def rest(self) -> None:
        """Until a probe, written after all that is of interest, has had its final hint."""
        probe = f"zz-probe-{len(self.out.events)}"
        self.write(probe)
        await self.out.until(lambda: self.out.hinted().count(probe) >= 2)
        await until(lambda: self.watch.pending == 0)

    def hinted(self) -> set[str]:
        return {key for key in self.out.hinted() if not key.startswith("zz-probe")}


@asynccontextmanager
async def watching(
    root: Path, *, polling: bool = False, gap_callback: bool = True, settle: float = SETTLE
) -> AsyncIterator[Watched]:
    out, known, gaps = Recorder(), set[str](), list[float]()

    async def known_keys(prefix: str) -> Sequence[str]:
        return [key for key in known if key.startswith(prefix)]

    patterns = KeyPatterns()
    store = FolderStore(root, max_bytes=1 << 20, clock=FolderClock(0), prune=patterns.prunes)
    async with store:
        watch = FolderWatch(
            store,
            patterns,
            out,
            known_keys=known_keys,
            on_gap=(lambda: gaps.append(time.monotonic())) if gap_callback else None,
            polling=polling,
            poll_seconds=0.1,
            settle_seconds=settle,
            retry=RetryPolicy(first=0.01),
        )
        running = asyncio.create_task(watch.run())
        try:
            async with asyncio.timeout(60):
                await watch.started()
            yield Watched(root, watch, out, known, gaps)
        finally:
            running.cancel()
            done, _ = await asyncio.wait({running}, timeout=10)
            assert done, "the watch does not end when it is cancelled"
            assert running.cancelled() or running.exception() is None, running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    root.mkdir()
    return root


@FEEDS
async def test_a_new_file_is_hinted_at_once_and_again_after_it_has_come_to_rest(root: Path, polling: bool) -> None:
    async with watching(root, polling=polling) as seen:
        seen.write("a.jpg")
        await seen.out.until(lambda: "a.jpg" in seen.out.hinted())
        assert seen.watch.pending >= 1
        await seen.out.until(lambda: seen.out.hinted().count("a.jpg") == 2)
        (first, event), (second, _) = seen.out.events
        assert second - first >= SETTLE * 0.9
        assert (event.source, event.bucket, event.kind) == ("folder", "pictures", EventKind.CREATED)
        assert event.origin is EventOrigin.FOLDER
        assert event.after == 0
        assert event.event_time is not None
        assert seen.watch.pending == 0


@FEEDS
async def test_overwriting_deleting_and_renaming_a_file_are_hinted(root: Path, polling: bool) -> None:
    for name in ("over.jpg", "del.jpg", "old.jpg"):
        (root / name).write_bytes(b"1")
    async with watching(root, polling=polling) as seen:
        seen.write("over.jpg", b"22")
        (root / "del.jpg").unlink()
        (root / "old.jpg").rename(root / "new.jpg")
        await seen.rest()
        assert seen.hinted() == {"over.jpg", "del.jpg", "old.jpg", "new.jpg"}
        assert set(seen.out.hinted(EventKind.REMOVED)) == {"del.jpg", "old.jpg"}


async def test_a_rewrite_that_keeps_size_and_mtime_is_hinted(root: Path) -> None:
    (root / "a.jpg").write_bytes(b"1")
    os.utime(root / "a.jpg", ns=(1, 1))
    async with watching(root, polling=True) as seen:
        seen.write("a.jpg", b"2")
        os.utime(root / "a.jpg", ns=(1, 1))
        await seen.rest()
        assert "a.jpg" in seen.hinted()


@FEEDS
async def test_a_half_written_file_has_its_final_hint_after_its_last_block(root: Path, polling: bool) -> None:
    async with watching(root, polling=polling) as seen:
        with (root / "slow.jpg").open("wb", buffering=0) as file:
            for _ in range(8):
                file.write(b"block")
                await asyncio.sleep(0.1)
        closed = time.monotonic()
        await seen.rest()
        hints = [at for at, event in seen.out.events if event.key == "slow.jpg"]
        assert hints[-1] >= closed - 0.1 + SETTLE * 0.9
        assert any(hints[0] < at < closed for at in hints), "it is hinted meanwhile, too"
        assert len(hints) <= 8


@FEEDS
async def test_unwanted_and_hidden_files_are_never_hinted(root: Path, polling: bool) -> None:
    async with watching(root, polling=polling) as seen:
        for key in ("notes.txt", ".hidden.jpg", ".git/a.jpg", "a.jpg.part", "@eaDir/a.jpg", "Thumbs.db"):
            seen.write(key)
        await seen.rest()
        assert seen.hinted() == set()


@FEEDS
async def test_a_folder_moved_in_is_hinted_file_by_file(root: Path, tmp_path: Path, polling: bool) -> None:
    (tmp_path / "out/deep").mkdir(parents=True)
    (tmp_path / "out/deep/a.jpg").write_bytes(b"1")
    (tmp_path / "out/b.jpg").write_bytes(b"1")
    (tmp_path / "out/c.txt").write_bytes(b"1")
    async with watching(root, polling=polling) as seen:
        (tmp_path / "out").rename(root / "in")
        await seen.rest()
        assert seen.hinted() == {"in/deep/a.jpg", "in/b.jpg"}


async def test_a_folder_moved_in_is_hinted_at_once(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.jpg").write_bytes(b"1")
    async with watching(root, settle=60) as seen:
        (tmp_path / "out").rename(root / "in")
        await seen.out.until(lambda: seen.hinted() == {"in/a.jpg"})


@FEEDS
async def test_a_folder_moved_out_or_removed_hints_at_what_the_index_knows_below_it(
    root: Path, tmp_path: Path, polling: bool
) -> None:
    keys = {"moved/deep/a.jpg", "moved/b.jpg", "removed/a.jpg", "kept/a.jpg"}
    for key in keys:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(b"1")
    async with watching(root, polling=polling) as seen:
        seen.known |= keys
        (root / "moved").rename(tmp_path / "elsewhere")
        shutil.rmtree(root / "removed")
        await seen.rest()
        assert seen.hinted() == keys - {"kept/a.jpg"}
        assert set(seen.out.hinted(EventKind.REMOVED)) == seen.hinted()


async def test_sub_folders_of_a_folder_that_was_moved_in_are_known_when_they_go(root: Path, tmp_path: Path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/deep/a.jpg").write_bytes(b"1")
    async with watching(root) as seen:
        (tmp_path / "in").rename(root / "in")
        await seen.rest()
        seen.known |= {"in/deep/a.jpg"}
        (root / "in/deep").rename(tmp_path / "deep")
        await seen.out.until(lambda: "in/deep/a.jpg" in seen.out.hinted(EventKind.REMOVED))


@FEEDS
async def test_a_renamed_folder_hints_at_the_old_keys_and_the_new_ones(root: Path, polling: bool) -> None:
    (root / "old").mkdir()
    (root / "old/a.jpg").write_bytes(b"1")
    async with watching(root, polling=polling) as seen:
        seen.known.add("old/a.jpg")
        (root / "old").rename(root / "new")
        await seen.rest()
        assert seen.hinted() == {"old/a.jpg", "new/a.jpg"}


async def test_a_folder_swapped_for_another_of_the_same_name_hints_at_the_union(root: Path, tmp_path: Path) -> None:
    (root / "f").mkdir()
    (root / "f/old.jpg").write_bytes(b"1")
    (tmp_path / "f").mkdir()
    (tmp_path / "f/new.jpg").write_bytes(b"1")
    async with watching(root) as seen:
        seen.known.add("f/old.jpg")
        (root / "f").rename(tmp_path / "g")
        (tmp_path / "f").rename(root / "f")
        await seen.rest()
        assert seen.hinted() == {"f/old.jpg", "f/new.jpg"}


async def test_a_folder_whose_times_were_set_hints_only_at_what_differs_from_the_index(root: Path) -> None:
    (root / "f").mkdir()
    for name in ("known.jpg", "unknown.jpg"):
        (root / "f" / name).write_bytes(b"1")
    async with watching(root) as seen:
        seen.known |= {"f/known.jpg", "f/orphan.jpg"}
        os.utime(root / "f")
        await seen.rest()
        assert seen.hinted() == {"f/unknown.jpg", "f/orphan.jpg"}


@FEEDS
async def test_a_thousand_files_dropped_at_once_are_all_hinted_in_a_few_batches(root: Path, polling: bool) -> None:
    keys = {f"drop/{n % 7}/{n}.jpg" for n in range(1000)}
    async with watching(root, polling=polling) as seen:
        for key in keys:
            seen.write(key)
        await seen.rest()
        assert seen.hinted() == keys
        assert len(seen.out.batches) < 60


async def test_files_written_to_new_folders_before_their_watch_stands_are_all_hinted(root: Path) -> None:
    keys = {f"new/{n}/deep/er/{n}.jpg" for n in range(300)}
    async with watching(root) as seen:
        for key in keys:
            seen.write(key)
        await seen.rest()
        assert seen.hinted() == keys


async def test_hints_wait_for_a_transport_that_is_away(root: Path) -> None:
    async with watching(root) as seen:
        seen.out.failures = 3
        seen.write("a.jpg")
        await seen.out.until(lambda: seen.out.hinted().count("a.jpg") == 2)
        assert seen.out.failures == 0


@FEEDS
async def test_a_root_that_goes_and_comes_back_is_waited_for_and_compared(
    root: Path, tmp_path: Path, polling: bool
) -> None:
    (root / "a.jpg").write_bytes(b"1")
    async with watching(root, polling=polling) as seen:
        _move(root, tmp_path / "away")
        await asyncio.sleep(1.3)  # longer than the pause between two checks of the root
        assert seen.hinted() == set(), "a root that is away proves nothing about its files"
        (tmp_path / "away" / "meanwhile.jpg").write_bytes(b"1")
        (tmp_path / "away").rename(root)
        await until(lambda: bool(seen.gaps))
        seen.write("b.jpg")
        await seen.rest()
        assert "b.jpg" in seen.hinted()


@FEEDS
async def test_each_reason_why_the_root_is_away_is_said_once_and_told_to_whoever_asks(
    root: Path, tmp_path: Path, polling: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[str]:
        return [r.getMessage() for r in caplog.records if getattr(r, "action", "") == "folder_away"]

    async with watching(root, polling=polling) as seen:
        assert seen.watch.away is None
        _move(root, tmp_path / "gone")
        await until(lambda: "cannot be opened" in (seen.watch.away or ""))
        (tmp_path / "other").mkdir()
        _move(tmp_path / "other", root)
        await until(lambda: "restart" in (seen.watch.away or ""))
        await asyncio.sleep(1.3)  # longer than the pause between two checks of the root
        assert len(said()) == 2
        assert said()[-1] == seen.watch.away
        _move(root, tmp_path / "other")
        _move(tmp_path / "gone", root)
        await until(lambda: seen.watch.away is None)
        await until(lambda: bool(seen.gaps))  # what changes before it is watched again is found by a comparison
        await seen.rest()


async def test_a_one_pass_run_waits_for_what_comes_to_rest_and_is_told_what_does_not(root: Path) -> None:
    async with watching(root) as seen:
        writing = asyncio.create_task(_keep_writing(root / "slow.jpg"))
        seen.write("a.jpg")
        await seen.out.until(lambda: {"a.jpg", "slow.jpg"} <= seen.hinted())
        began = time.monotonic()
        async with asyncio.timeout(60):
            assert await seen.watch.settled(4 * SETTLE) == ["slow.jpg"]
        assert time.monotonic() - began >= 4 * SETTLE
        assert seen.out.hinted().count("a.jpg") == 2
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        began = time.monotonic()
        assert await seen.watch.settled(60) == []
        assert time.monotonic() - began < 10
        assert seen.watch.pending == 0


async def test_hints_under_way_are_waited_for_beyond_the_timeout(root: Path) -> None:
    async with watching(root) as seen:
        let_go = asyncio.Event()
        publish = seen.out.publish

        async def slowly(messages: Sequence[Message]) -> None:
            await let_go.wait()
            await publish(messages)

        seen.out.publish = slowly  # type: ignore[method-assign]
        seen.write("a.jpg")
        await until(lambda: seen.watch.pending == 2)  # the file, and its hint in hand
        settling = asyncio.create_task(seen.watch.settled(0))
        done, _ = await asyncio.wait({settling}, timeout=0.3)
        assert not done
        let_go.set()
        await settling
        assert "a.jpg" in seen.hinted()


async def test_what_nobody_could_look_at_while_the_root_was_away_is_told(root: Path, tmp_path: Path) -> None:
    async with watching(root) as seen:
        _move(root, tmp_path / "gone")
        await until(lambda: seen.watch.away is not None)
        seen.watch.settle_later(["a.jpg"])
        async with asyncio.timeout(5):
            assert await seen.watch.settled(0.1) == ["a.jpg"]
        _move(tmp_path / "gone", root)


HANGING_WATCH = """
import asyncio, sys, threading
from pathlib import Path
from services.ingest.folder_watch import FolderWatch
from services.ingest.patterns import KeyPatterns
from stores.folder import FolderClock, FolderStore

hanging = threading.Event()

class Hanging(KeyPatterns):
    def prunes(self, folder):
        hanging.set()
        threading.Event().wait()

async def main():
    async with FolderStore(Path(sys.argv[1]), max_bytes=1, clock=FolderClock(0)) as store:
        running = asyncio.create_task(FolderWatch(store, Hanging(), None, known_keys=None).run())
        while not hanging.is_set():
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

asyncio.run(main())
print("done")
"""


def test_a_folder_that_hangs_while_it_is_mapped_does_not_keep_the_process(root: Path) -> None:
    (root / "sub").mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", HANGING_WATCH, str(root)], timeout=30, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


async def test_without_a_callback_a_gap_hints_at_every_file_and_every_known_key(root: Path, tmp_path: Path) -> None:
    (root / "a.jpg").write_bytes(b"1")
    async with watching(root, gap_callback=False) as seen:
        seen.known.add("orphan.jpg")
        _move(root, tmp_path / "away")
        await asyncio.sleep(1.3)
        (tmp_path / "away").rename(root)
        await seen.out.until(lambda: {"a.jpg", "orphan.jpg"} <= seen.hinted())


async def test_a_name_that_is_not_utf8_is_survived_and_says_that_changes_were_lost(root: Path) -> None:
    async with watching(root) as seen:
        _write(os.fsencode(root) + b"/\xff.jpg")
        await until(lambda: bool(seen.gaps))
        seen.write("b.jpg")
        await seen.rest()
        assert seen.hinted() == {"b.jpg"}


async def test_a_folder_that_a_link_inside_leads_to_is_hinted_by_its_real_key(root: Path) -> None:
    (root / "real").mkdir()
    (root / "link").symlink_to("real")
    async with watching(root) as seen:
        seen.write("real/a.jpg")
        await seen.rest()
        assert seen.hinted() == {"real/a.jpg"}


async def test_a_link_out_of_the_folder_is_not_followed(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "private").mkdir()
    (root / "link").symlink_to(tmp_path / "private")
    async with watching(root) as seen:
        (tmp_path / "private/a.jpg").write_bytes(b"1")
        seen.write("b.jpg")
        await seen.rest()
        assert seen.hinted() == {"b.jpg"}
    assert "leads out of the folder" in caplog.text


async def test_where_the_system_grants_no_watch_listings_are_compared(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("OS file watch limit reached. (os error 28)")

    monkeypatch.setattr(folder_changes, "RustNotify", refuse)
    async with watching(root) as seen:
        seen.write("a.jpg")
        await seen.rest()
        assert seen.hinted() == {"a.jpg"}
    assert "max_user_watches" in caplog.text


async def test_files_that_were_old_when_somebody_else_hinted_at_them_are_not_hinted_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "old.jpg").write_bytes(b"1")
    async with watching(root) as seen:
        monkeypatch.setattr(folder_watch, "SETTLE_SECONDS", -60.0)  # as if a minute had passed
        seen.watch.settle_later(["old.jpg"])
        await until(lambda: seen.watch.pending == 0)
        await seen.rest()
        assert seen.hinted() == set()


async def test_only_young_files_that_somebody_else_hinted_at_are_hinted_again(root: Path) -> None:
    (root / "young.jpg").write_bytes(b"1")
    async with watching(root) as seen:
        seen.watch.settle_later(["young.jpg", "vanished.jpg"])
        assert seen.watch.pending == 2
        await seen.out.until(lambda: bool(seen.out.events))
        assert seen.out.hinted() == ["young.jpg"]
        assert seen.watch.pending == 0


async def _keep_writing(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"block")
            await asyncio.sleep(0.05)


def _move(old: Path, new: Path) -> None:
    old.rename(new)


def _write(path: bytes) -> None:
    Path(os.fsdecode(path)).write_bytes(b"1")
