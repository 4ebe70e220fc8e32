"""Where a folder's changes come from: the system's own notifications, or a comparison of listings.

The facts that shape the first, all seen with watchfiles 1.3: one name that is not UTF-8 makes every
later call fail, so the watch must be opened again; links to folders are followed, and a folder that
a link also leads to is reported by the link's path; a full queue and a folder too many are not
reported at all; what is written to a new folder before its watch stands is not reported either.
"""

import asyncio
import threading
import time
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, cast

from watchfiles import Change
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from runtime.log import Log
from schemas.errors import DependencyUnavailable
from stores.folder import FolderStore

STEP_MS = 20
"""A batch of notifications ends when this passes without another."""
DEBOUNCE_MS = 300
"""A batch of notifications ends after this in any case."""
WAIT_MS = 1000
"""How long one wait for notifications lasts."""


class ChangeKind(StrEnum):
    """What happened to a name. A rename is an arrival and a departure."""

    ARRIVED = "arrived"
    MODIFIED = "modified"
    DEPARTED = "departed"


@dataclass(frozen=True)
class FolderChange:
    """A change of `path`, relative to the root ("" is the root itself): a file, a folder, or anything else."""

    kind: ChangeKind
    path: str


class ChangesLost(Exception):
    """Changes may have been missed; what follows is reported only after the watch is opened again."""


class WatchRefused(Exception):
    """The system grants no watch; the message ends with the remedy."""


class ChangeFeed(Protocol):
    """A source of changes. `next` waits for some, and gives none now and then so that its caller can look around."""

    async def open(self) -> None:
        """Begin. Every change after this returns will be given."""
        ...

    async def next(self) -> Set[FolderChange]:
        """The changes since the last call. Raises `ChangesLost`."""
        ...

    async def close(self) -> None:
        """End; a `next` under way ends soon."""
        ...


class NotifiedChanges:
    """The system's notifications (inotify, FSEvents), through watchfiles."""

    _KINDS = {  # noqa: RUF012 - never changed
        Change.added: ChangeKind.ARRIVED,
        Change.modified: ChangeKind.MODIFIED,
        Change.deleted: ChangeKind.DEPARTED,
    }

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._stop = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="folder-watch")
        self._notify: RustNotify | None = None

    async def open(self) -> None:
        """Watch the root and all below it; a large tree takes a while. Raises `WatchRefused`."""
        loop = asyncio.get_running_loop()
        try:
            # The watch stands when the constructor returns. In a thread: it visits every folder.
            self._notify = await loop.run_in_executor(
                self._thread, RustNotify, [self._root], False, False, 300, True, False
            )
        except (OSError, WatchfilesRustInternalError) as error:
            raise WatchRefused(f"{self._root} cannot be watched: {error}. {_remedy(str(error))}") from error

    async def next(self) -> Set[FolderChange]:
        """What happened, at the latest after about `WAIT_MS`. Raises `ChangesLost`."""
        loop = asyncio.get_running_loop()
        try:
            raw = await loop.run_in_executor(self._thread, self._wait)
        except WatchfilesRustInternalError as error:
            raise ChangesLost(str(error)) from error
        if isinstance(raw, str):
            return frozenset()
        start = len(self._root.rstrip("/")) + 1
        return {FolderChange(self._KINDS[Change(kind)], path[start:]) for kind, path in raw}

    async def close(self) -> None:
        """End the thread within about `STEP_MS`, and the watch with it."""
        self._stop.set()
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _wait(self) -> set[tuple[int, str]] | str:
        if self._notify is None:
            return "stop"
        return cast("set[tuple[int, str]] | str", self._notify.watch(DEBOUNCE_MS, STEP_MS, WAIT_MS, self._stop))

    def _close(self) -> None:
        if self._notify is not None:
            self._notify.close()


class ComparedChanges:
    """Two listings and their difference: slower, but works wherever files can be listed.

    Sees every change that changes a file's ETag, so also what another machine did to a network share.
    Waits `seconds` between listings, and nine times as long as a listing takes, to stay below a tenth of
    the disk's time. Memory: about 200 bytes for each file.
    """

    def __init__(self, store: FolderStore, *, seconds: float, log: Log) -> None:
        self._store = store
        self._seconds = seconds
        self._log = log
        self._took = 0.0
        self._files: dict[str, int] = {}

    async def open(self) -> None:
        """List the folder once. Raises `DependencyUnavailable`."""
        self._files = await self._listed()

    async def next(self) -> Set[FolderChange]:
        """What the next listing shows; nothing, and a warning, where the folder cannot be listed now."""
        await asyncio.sleep(max(self._seconds, 9 * self._took))
        try:
            files = await self._listed()
        except DependencyUnavailable as error:
            self._log.warning("folder_not_listed", str(error))
            return frozenset()
        before, self._files = self._files, files
        arrived = {FolderChange(ChangeKind.ARRIVED, key) for key in files.keys() - before.keys()}
        departed = {FolderChange(ChangeKind.DEPARTED, key) for key in before.keys() - files.keys()}
        return (
            arrived
            | departed
            | {
                FolderChange(ChangeKind.MODIFIED, key)
                for key, etag in files.items()
                if key in before and before[key] != etag
            }
        )

    async def close(self) -> None:
        """Nothing is held."""

    async def _listed(self) -> dict[str, int]:
        started = time.monotonic()
        # 64 bits of each ETag: a change that leaves them equal is left to reconcile.
        files = {entry.key: hash(entry.etag) async for entry in self._store.list()}
        self._took = time.monotonic() - started
        return files


def _remedy(message: str) -> str:
    if "os error 28" in message or "limit" in message.lower():
        return "Raise the limit (sysctl fs.inotify.max_user_watches=1048576)"
    if "os error 24" in message:
        return "Raise the limit (sysctl fs.inotify.max_user_instances=1024)"
    return "Make every sub-folder readable for the user that runs this"
