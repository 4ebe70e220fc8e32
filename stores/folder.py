"""A folder as an object store: look at a file, list them all, with a clock that never goes back.

A file's ETag is `size-mtime_ns-ctime_ns-inode`, the same before and after it was read. What is no
object of the folder, for looks and listings alike: links that lead out of it and links to folders,
pipes, sockets and devices, folders, names that are not UTF-8, and files that may not be read.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from schemas.events import ObjectFacts
from stores.folder_files import FolderFiles, LeftOut, etag_of
from stores.objects import Flowed, Found, Glance, ListedObject, Look, Missing, Oversized, Seen
from stores.threads import DaemonThreads

P = ParamSpec("P")
T = TypeVar("T")

SETTLE_SECONDS = 2.0
"""A file that changed less than this ago may change again without a new ETag: clocks of file systems are coarse."""

CONTENT_TYPES = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jfif": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
"""Media types (IANA) by suffix. A hint for people: the bytes decide."""

_CHUNK = 1000
_THREADS = 8
# A clock that ran ahead and was set back leaves ctimes in the future. Near ones settle soon; far ones never would.
_CREDIBLE_SKEW_NS = 60_000_000_000


class FolderClock:
    """The folder's own clock: Unix milliseconds, each call later than the one before and than `start_above`.

    `start_above` is the highest version in the folder's index, so that no look of this process is
    older than what an earlier process wrote, whatever became of the system clock. Thread-safe.
    """

    def __init__(self, start_above: int, *, system_clock: Callable[[], int] = time.time_ns) -> None:
        self._last = start_above
        self._system_clock = system_clock
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        """The time now, or one millisecond after the last answer, whichever is later."""
        with self._lock:
            self._last = max(self._last + 1, self._system_clock() // 1_000_000)
            return self._last


class FolderStore:
    """An `ObjectStore` over the folder `root`: `bucket` is its name, keys are paths below it with forward slashes.

    `max_bytes` is the largest file that is read. `prune` says which sub-folders (given as "a/b/") are
    never entered by listings; pass `KeyPatterns.prunes`. `system_clock` gives Unix nanoseconds and
    decides only what is settled.
    """

    source = "folder"

    def __init__(
        self,
        root: Path,
        *,
        max_bytes: int,
        clock: FolderClock,
        prune: Callable[[str], bool] = lambda _: False,
        system_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.root = Path(os.path.abspath(root.expanduser()))  # noqa: PTH100 - resolve() would change the name
        self._files = FolderFiles(self.root, prune)
        self._max_bytes = max_bytes
        self._clock = clock
        self._system_clock = system_clock
        self._threads = DaemonThreads(_THREADS, "folder")

    @property
    def bucket(self) -> str:
        """The folder's name."""
        return self.root.name

    @property
    def left_out(self) -> LeftOut:
        """What the last complete listing of the whole folder left out."""
        return self._files.left_out

    async def __aenter__(self) -> Self:
        """Remember which folder this is. Raises `ConfigurationError` when it does not exist or is no folder."""
        await self._run(self._files.attach)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads, without waiting for a disk that hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def verify(self) -> None:
        """Raises `DependencyUnavailable` unless the root is there and is the same folder as at the start."""
        await self._run(self._verify)

    async def look(self, key: str, *, flowed: Flowed = lambda count: None) -> Look:
        """The file as it is now. Raises `DependencyUnavailable`.

        A file that changes during every one of a few reads is `Found` with `settled=False` and the
        ETag that it no longer has, so that one file that is written for hours delays no other, and
        whatever was made of its bytes is stale to the next comparison.
        """
        return await self._run(self._look, key, flowed)

    async def glance(self, key: str) -> Glance:
        """What the file is now. Raises `DependencyUnavailable`. Does not move the clock: nothing is judged by it."""
        date_ms = self._system_clock() // 1_000_000
        status = await self._run(self._files.status, key)
        return Missing(date_ms) if status is None else Seen(self._facts(key, status), date_ms)

    async def part(self, key: str, *, etag: str, start: int, length: int) -> bytes | None:
        """Bytes of the file while it has this ETag; None when it is gone or changed. Raises `DependencyUnavailable`."""
        return await self._run(self._files.part, key, etag, start, length)

    async def link(self, key: str, *, seconds: int, content_type: str, disposition: str) -> str | None:
        """None: files have no address of their own."""
        return None

    async def list(self, prefix: str = "") -> AsyncIterator[ListedObject]:
        """Every file whose key starts with `prefix`, keys ascending. Raises `DependencyUnavailable`.

        A file that vanishes during the listing is left out; a sub-folder that cannot be listed, or a
        root that is gone at the end, is an error.
        """
        chunks = _Chunks(self._files.walk(prefix))
        try:
            while chunk := await self._run(chunks.take):
                for key, status in chunk:
                    yield ListedObject(key, etag_of(status), status.st_size, _moment(status.st_mtime_ns))
        finally:
            with suppress(RuntimeError):  # the store was left first
                self._threads.submit(chunks.close)

    def _verify(self) -> None:
        with self._files.verified_root():
            pass

    def _look(self, key: str, flowed: Flowed) -> Look:
        date_ms = self._clock.now_ms()
        looked_at = self._system_clock()
        read = self._files.read(key, self._max_bytes, flowed)
        if read is None:
            return Missing(date_ms)
        facts = self._facts(key, read.status)
        if read.data is None:
            return Oversized(facts, date_ms, self._max_bytes)
        return Found(facts, date_ms, read.data, settled=read.steady and _settled(read.status, looked_at))

    @staticmethod
    def _facts(key: str, status: os.stat_result) -> ObjectFacts:
        return ObjectFacts(
            etag=etag_of(status),
            size=status.st_size,
            content_type=CONTENT_TYPES.get(PurePosixPath(key).suffix.lower()),
            modified_at=_moment(status.st_mtime_ns),
        )

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))


class _Chunks:
    """A generator shared by threads: one takes at a time, and closing waits for the taker."""

    def __init__(self, walk: Iterator[tuple[str, os.stat_result]]) -> None:
        self._walk = walk
        self._lock = threading.Lock()

    def take(self) -> list[tuple[str, os.stat_result]]:
        with self._lock:
            return list(islice(self._walk, _CHUNK))

    def close(self) -> None:
        with self._lock:
            self._walk.close()  # type: ignore[attr-defined]


def changed_at(etag: str) -> float:
    """Unix seconds of the last change that a folder's ETag knows of: the later of mtime and ctime."""
    _, mtime, ctime, _ = etag.rsplit("-", 3)
    return max(int(mtime), int(ctime)) / 1e9


def _settled(status: os.stat_result, now_ns: int) -> bool:
    # Anyone may set an mtime in the future; the ctime is the kernel's.
    mtime = status.st_mtime_ns if status.st_mtime_ns <= now_ns else 0
    age = now_ns - max(mtime, status.st_ctime_ns)
    return age >= SETTLE_SECONDS * 1e9 or age < -_CREDIBLE_SKEW_NS


def _moment(mtime_ns: int) -> datetime:
    try:
        return datetime.fromtimestamp(mtime_ns / 1e9, UTC)
    except (OverflowError, ValueError, OSError):  # a file system can store years that datetime cannot
        return datetime.fromtimestamp(0, UTC)
