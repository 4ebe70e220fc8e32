"""What only a folder can do to its reader: links, pipes, rights, names, clocks, and writers at work."""

import asyncio
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, DependencyUnavailable
from stores import folder_files
from stores.folder import FolderClock, FolderStore, changed_at
from stores.folder_files import FolderFiles
from stores.objects import Flowed, Found, Missing, Oversized


def a_store(root: Path, **options: Callable[..., object]) -> FolderStore:
    return FolderStore(root, max_bytes=1000, clock=FolderClock(0), **options)  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    root.mkdir()
    return root


@pytest.fixture
async def store(root: Path) -> AsyncIterator[FolderStore]:
    async with a_store(root) as store:
        yield store


async def keys(store: FolderStore, prefix: str = "") -> list[str]:
    return [entry.key async for entry in store.list(prefix)]


async def found(store: FolderStore, key: str) -> Found:
    look = await store.look(key)
    assert isinstance(look, Found)
    return look


# Links and special files


@pytest.mark.parametrize("kind", ["link out", "link to a folder", "dangling", "loop", "pipe", "socket", "folder"])
async def test_what_is_no_file_of_the_folder_is_missing_and_unlisted_and_never_opened(
    store: FolderStore, root: Path, tmp_path: Path, kind: str
) -> None:
    path = root / "x.jpg"
    held = None
    if kind == "link out":
        (tmp_path / "secret.jpg").write_bytes(b"secret")
        path.symlink_to(tmp_path / "secret.jpg")
    elif kind == "link to a folder":
        (root / "real").mkdir()
        path.symlink_to("real")
    elif kind == "dangling":
        path.symlink_to("nowhere.jpg")
    elif kind == "loop":
        path.symlink_to("x.jpg")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        held = socket.socket(socket.AF_UNIX)
        here = os.open(".", os.O_RDONLY)
        os.chdir(root)  # a socket's path is short
        held.bind("x.jpg")
        os.fchdir(here)
        os.close(here)
    else:
        path.mkdir()
    async with asyncio.timeout(5):
        assert isinstance(await store.look("x.jpg"), Missing)
        assert await keys(store) == []
    if held:
        held.close()


async def test_a_link_to_a_file_inside_is_followed_and_changes_with_it(store: FolderStore, root: Path) -> None:
    (root / "a").mkdir()
    (root / "a/real.jpg").write_bytes(b"one")
    (root / "link.jpg").symlink_to("a/real.jpg")
    before = await found(store, "link.jpg")
    assert before.data == b"one"
    assert await keys(store) == ["a/real.jpg", "link.jpg"]
    (root / "a/real.jpg").write_bytes(b"two!")
    after = await found(store, "link.jpg")
    assert after.data == b"two!"
    assert after.facts.etag != before.facts.etag


async def test_no_look_leads_through_a_linked_folder(store: FolderStore, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/a.jpg").write_bytes(b"secret")
    (root / "inside").mkdir()
    (root / "inside/a.jpg").write_bytes(b"1")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "in").symlink_to("inside")
    assert isinstance(await store.look("out/a.jpg"), Missing)
    assert isinstance(await store.look("in/a.jpg"), Missing)
    assert await keys(store) == ["inside/a.jpg"]
    assert await keys(store, "out/") == []
    assert await keys(store, "in/") == []


@pytest.mark.parametrize(
    "key",
    [
        "../secret.jpg",
        "a/../../secret.jpg",
        "/etc/passwd",
        "./a.jpg",
        "a//b.jpg",
        "a/",
        "..",
        ".",
        "nul\0.jpg",
        "\udcff.jpg",
    ],
)
async def test_keys_that_no_file_can_have_are_missing(store: FolderStore, root: Path, tmp_path: Path, key: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "a").mkdir()
    (root / "a.jpg").write_bytes(b"1")
    (root / "a/b.jpg").write_bytes(b"1")
    assert isinstance(await store.look(key), Missing)


@pytest.mark.parametrize("key", ["n" * 300 + ".jpg", "d/" * 2100 + "a.jpg"])
async def test_names_too_long_for_the_disk_are_missing(store: FolderStore, key: str) -> None:
    assert isinstance(await store.look(key), Missing)


async def test_names_that_are_not_utf8_are_left_out_and_counted(store: FolderStore, root: Path) -> None:
    (root / "ok.jpg").write_bytes(b"1")
    (root / os.fsdecode(b"\xff.jpg")).write_bytes(b"1")
    (root / os.fsdecode(b"\xfe")).mkdir()
    assert await keys(store) == ["ok.jpg"]
    assert store.left_out.names_not_utf8 == 2


async def test_a_mtime_that_no_calendar_holds_is_survived(store: FolderStore, root: Path) -> None:
    (root / "a.jpg").write_bytes(b"1")
    os.utime(root / "a.jpg", (-(10**10), -(10**10)))
    assert (await found(store, "a.jpg")).facts.modified_at <= datetime(1970, 1, 1, tzinfo=UTC)
    assert await keys(store) == ["a.jpg"]


async def test_content_types_come_from_the_suffix_whatever_its_case(store: FolderStore, root: Path) -> None:
    for name in ("a.JPG", "b.heic", "c"):
        (root / name).write_bytes(b"1")
    types = [(await found(store, name)).facts.content_type for name in ("a.JPG", "b.heic", "c")]
    assert types == ["image/jpeg", "image/heic", None]


# Rights


@pytest.fixture
def as_ordinary_user() -> Iterator[Path]:
    """A folder, and this process as a user whom rights concern: they do not concern root."""
    base = Path(tempfile.mkdtemp())
    base.chmod(0o755)
    root = base / "pictures"
    root.mkdir()
    if os.geteuid() == 0:
        os.chown(root, 65534, 65534)
        os.seteuid(65534)
        try:
            yield root
        finally:
            os.seteuid(0)
    else:
        yield root
    for folder, _, _ in os.walk(base):
        Path(folder).chmod(0o755)
    shutil.rmtree(base)


async def test_a_file_that_may_not_be_read_counts_as_not_there_and_comes_back_by_itself(
    as_ordinary_user: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = as_ordinary_user
    for name in ("a.jpg", "b.jpg"):
        (root / name).write_bytes(b"1")
    (root / "a.jpg").chmod(0)
    async with a_store(root) as store:
        assert isinstance(await store.look("a.jpg"), Missing)
        assert "chmod +r" in caplog.text
        assert await keys(store) == ["b.jpg"]
        assert store.left_out.unreadable == 1
        (root / "a.jpg").chmod(0o644)
        assert (await found(store, "a.jpg")).data == b"1"
        assert await keys(store) == ["a.jpg", "b.jpg"]
        assert store.left_out.unreadable == 0


async def test_a_sub_folder_that_may_not_be_entered_proves_nothing_about_its_files(as_ordinary_user: Path) -> None:
    root = as_ordinary_user
    (root / "closed").mkdir()
    (root / "closed/a.jpg").write_bytes(b"1")
    (root / "closed").chmod(0)
    async with a_store(root) as store:
        with pytest.raises(DependencyUnavailable, match="closed"):
            await store.look("closed/a.jpg")
        with pytest.raises(DependencyUnavailable, match="closed"):
            await keys(store)
    async with a_store(root, prune=lambda folder: folder == "closed/") as store:
        assert await keys(store) == []


async def test_pruned_folders_are_not_entered(root: Path) -> None:
    for key in ("a/b/c.jpg", "a/skip/d.jpg"):
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(b"1")
    async with a_store(root, prune=lambda folder: folder == "a/skip/") as store:
        assert await keys(store) == ["a/b/c.jpg"]
        assert await keys(store, "a/skip/") == []
        assert isinstance(await store.look("a/skip/d.jpg"), Found)


# The root


async def test_a_root_that_was_replaced_or_is_gone_proves_nothing(store: FolderStore, root: Path) -> None:
    (root / "a.jpg").write_bytes(b"1")
    away = root.with_name("away")
    root.rename(away)  # noqa: ASYNC240
    for _ in range(2):
        with pytest.raises(DependencyUnavailable, match="pictures") as error:
            await store.look("a.jpg")
        assert error.value.dependency == "folder"
        with pytest.raises(DependencyUnavailable):
            await keys(store)
        with pytest.raises(DependencyUnavailable):
            await store.verify()
        root.mkdir(exist_ok=True)  # as an unmounted mount point looks  # noqa: ASYNC240
    root.rmdir()  # noqa: ASYNC240
    away.rename(root)
    await store.verify()
    assert (await found(store, "a.jpg")).data == b"1"


async def test_a_listing_during_which_the_root_goes_is_not_taken_for_complete(root: Path) -> None:
    for n in range(3):
        (root / f"{n}").mkdir()
        (root / f"{n}/a.jpg").write_bytes(b"1")
    files = FolderFiles(root, lambda _: False)
    files.attach()
    walk = files.walk("")
    assert next(walk)[0] == "0/a.jpg"
    shutil.rmtree(root)
    with pytest.raises(DependencyUnavailable):
        list(walk)


async def test_what_vanishes_during_a_listing_is_left_out(root: Path) -> None:
    for n in range(3):
        (root / f"{n}").mkdir()
        (root / f"{n}/a.jpg").write_bytes(b"1")
    files = FolderFiles(root, lambda _: False)
    files.attach()
    walk = files.walk("")
    assert next(walk)[0] == "0/a.jpg"
    shutil.rmtree(root / "1")
    assert [key for key, _ in walk] == ["2/a.jpg"]


@pytest.mark.parametrize("kind", ["missing", "file", "nameless"])
async def test_a_root_that_cannot_be_one_stops_the_start(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "file":
        path.write_bytes(b"")
    with pytest.raises(ConfigurationError):
        await a_store(Path("/") if kind == "nameless" else path).__aenter__()


async def test_a_linked_root_keeps_the_name_of_the_link(root: Path, tmp_path: Path) -> None:
    (root / "a.jpg").write_bytes(b"1")
    (tmp_path / "album").symlink_to(root)
    async with a_store(tmp_path / "album") as store:
        assert store.bucket == "album"
        assert (await found(store, "a.jpg")).data == b"1"
        assert await keys(store) == ["a.jpg"]


# Writers at work


async def test_a_file_that_changes_while_it_is_read_is_read_again(
    store: FolderStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a.jpg").write_bytes(b"old")
    read, calls = folder_files._read, []

    def overwritten_once(file: object, size: int, *flowed: Flowed) -> bytes:
        data = read(file, size, *flowed)  # type: ignore[arg-type]
        calls.append(size)
        if len(calls) == 1:
            (root / "a.jpg").write_bytes(b"newer")
        return data

    monkeypatch.setattr(folder_files, "_read", overwritten_once)
    look = await found(store, "a.jpg")
    assert look.data == b"newer"
    assert len(calls) == 2
    assert look.facts.etag == await anext(entry.etag async for entry in store.list())


async def test_a_file_that_never_rests_is_unsettled_and_carries_an_etag_that_it_no_longer_has(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "log.jpg").write_bytes(b"x")
    read = folder_files._read

    def growing(file: object, size: int, *flowed: Flowed) -> bytes:
        with (root / "log.jpg").open("ab") as log:
            log.write(b"x")
        return read(file, size, *flowed)  # type: ignore[arg-type]

    monkeypatch.setattr(folder_files, "_read", growing)
    async with a_store(root, system_clock=lambda: time.time_ns() + 10**12) as store:
        look = await found(store, "log.jpg")
        assert not look.settled
        assert len(look.data) == look.facts.size
        assert look.facts.etag not in [entry.etag async for entry in store.list()]


async def test_under_constant_replacement_every_look_is_some_whole_version_and_never_an_older_one(
    store: FolderStore, root: Path
) -> None:
    def write(n: int) -> None:
        partial = root / ".partial"
        partial.write_bytes(bytes([n % 256]) * 900)
        partial.replace(root / "a.jpg")

    write(0)
    stop = threading.Event()

    def writing() -> None:
        for n in range(1, 250):
            if stop.is_set():
                return
            write(n)

    writer = threading.Thread(target=writing)
    writer.start()
    try:
        seen = []
        while writer.is_alive():
            look = await found(store, "a.jpg")
            assert look.data == look.data[:1] * 900
            seen.append((look.date_ms, look.data[0]))
    finally:
        stop.set()
        writer.join()
    assert seen == sorted(seen)
    assert (await found(store, "a.jpg")).data == b"\xf9" * 900


async def test_a_rewrite_that_keeps_size_and_mtime_changes_the_etag(store: FolderStore, root: Path) -> None:
    (root / "a.jpg").write_bytes(b"one")
    os.utime(root / "a.jpg", ns=(5, 5))
    before = await found(store, "a.jpg")
    await asyncio.sleep(0.02)  # longer than the kernel's clock tick
    (root / "a.jpg").write_bytes(b"two")
    os.utime(root / "a.jpg", ns=(5, 5))
    after = await found(store, "a.jpg")
    assert before.facts.modified_at == after.facts.modified_at
    assert before.facts.etag != after.facts.etag


# What is settled


@pytest.mark.parametrize(
    ("mtime", "now", "settled"),
    [
        (0.0, +1.9, False),
        (0.0, +2.1, True),
        (-3600.0, +1.0, False),  # an old mtime was set just now: the ctime says so
        (+3600.0, +1.9, False),  # a future mtime: the ctime decides
        (+3600.0, +2.1, True),
        (0.0, -30.0, False),  # our clock a little behind the disk's
        (0.0, -3600.0, True),  # our clock was set back: waiting for it would take an hour
    ],
)
async def test_a_file_is_settled_two_seconds_after_its_last_change(
    root: Path, mtime: float, now: float, settled: bool
) -> None:
    path = root / "a.jpg"
    path.write_bytes(b"1")
    stamp = path.stat().st_ctime_ns + int(mtime * 1e9)
    os.utime(path, ns=(stamp, stamp))
    changed = path.stat().st_ctime_ns
    async with a_store(root, system_clock=lambda: changed + int(now * 1e9)) as store:
        assert (await found(store, "a.jpg")).settled is settled


async def test_an_oversized_file_is_not_read(store: FolderStore, root: Path) -> None:
    with (root / "huge.jpg").open("wb") as file:
        file.truncate(10**12)
    look = await store.look("huge.jpg")
    assert isinstance(look, Oversized)
    assert look.facts.size == 10**12


async def test_an_etag_tells_when_the_file_last_changed(store: FolderStore, root: Path) -> None:
    (root / "a.jpg").write_bytes(b"1")
    os.utime(root / "a.jpg", ns=(5, 5))
    etag = (await found(store, "a.jpg")).facts.etag
    assert etag.split("-")[:2] == ["1", "5"]
    assert changed_at(etag) == pytest.approx((root / "a.jpg").stat().st_ctime)


# The clock


@given(st.integers(0, 2**50), st.lists(st.integers(0, 2**60), min_size=1, max_size=30))
def test_the_clock_never_goes_back_nor_below_its_start_whatever_the_system_clock_does(
    start: int, times: list[int]
) -> None:
    ticks = iter(times)
    clock = FolderClock(start, system_clock=lambda: next(ticks))
    answers = [clock.now_ms() for _ in times]
    assert answers[0] > start
    assert all(a < b for a, b in pairwise(answers))
    assert all(answer >= ns // 1_000_000 for answer, ns in zip(answers, times, strict=True))


def test_threads_never_get_the_same_time() -> None:
    clock = FolderClock(0, system_clock=lambda: 0)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.extend(clock.now_ms() for _ in range(500))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 2000


# Order and completeness


_part = st.text("ab .-/0\U0001f4f7\uffee", min_size=1, max_size=8).map(lambda t: t.strip("/") or "x")


@given(st.sets(_part, max_size=12), st.text("ab ./", max_size=3))
def test_any_tree_is_listed_completely_in_order_and_by_any_prefix(names: set[str], prefix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "r"
        root.mkdir()
        wanted = set()
        for name in names:
            path = root / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"1")
            except OSError:  # a file where a folder should be, or ".."
                continue
            if root in path.resolve().parents:
                wanted.add(str(path.resolve().relative_to(root.resolve())))
        files = FolderFiles(root, lambda _: False)
        files.attach()
        walked = [key for key, _ in files.walk(prefix)]
        assert walked == sorted(key for key in wanted if key.startswith(prefix))
