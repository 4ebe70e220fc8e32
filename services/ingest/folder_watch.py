"""The watch on a folder: turns what changes into hints, and hints again once a change has come to rest."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from itertools import chain, islice
from typing import ParamSpec, TypeVar

from runtime.batch import Publisher
from runtime.log import Log
from runtime.retry import RetryPolicy
from schemas.errors import DependencyUnavailable
from schemas.events import EventKind
from services.ingest.folder_changes import ChangeFeed, ChangesLost, FolderChange
from services.ingest.folder_hints import FolderHints
from services.ingest.folder_map import FolderMap, topmost
from services.ingest.patterns import KeyPatterns
from services.ingest.settling import Settling
from services.ingest.watch_opening import ROOT_CHECK_SECONDS, WatchOpening
from stores.folder import SETTLE_SECONDS, FolderStore, changed_at
from stores.threads import DaemonThreads

P = ParamSpec("P")
T = TypeVar("T")

QUEUE_AT_RISK = 8192
"""So many changes at once may have filled the system's queue (16,384 by default), which nobody would say."""
HINT_SPACING_SECONDS = 1.0
"""The least time between two hints at a file that keeps changing."""
GAP_SECONDS = 10.0
"""The least time between two repairs of gaps."""
LOOK_DELAY_SECONDS = 120.0
"""A look may follow its hint this late, and has seen a file that was then still young."""
LOST_SECONDS = 0.5
"""The pause before a watch that failed is opened again; a name that is not UTF-8 may fail it again at once."""
UNSETTLED_NAMED = 1000
"""So many names that have not come to rest are told; more are not counted."""
_LONGEST_KEY = 4096
_POLL_SECONDS = 0.05


class FolderWatch:
    """Watches `store`'s folder and publishes an `ImageEvent` for every changed file that `patterns` want.

    A changed file is hinted at once, at most every second while it keeps changing, and again
    `settle_seconds` after its last change, when its bytes and ETag can be relied on. A folder that was
    moved, renamed or removed is listed on disk and, by `known_keys(prefix)`, in the index; the union is
    hinted. Where changes may have been missed, `on_gap` is called (start a reconcile); without it, every
    file and every known key is hinted.

    Where the system grants no watch, or a link leads out of the folder (notifications would follow it),
    listings are compared every `poll_seconds`; `polling=True` does so from the start, for network shares.
    """

    def __init__(
        self,
        store: FolderStore,
        patterns: KeyPatterns,
        publisher: Publisher,
        *,
        known_keys: Callable[[str], Awaitable[Sequence[str]]],
        on_gap: Callable[[], None] | None = None,
        polling: bool = False,
        poll_seconds: float = 1.0,
        settle_seconds: float = SETTLE_SECONDS + 0.1,
        retry: RetryPolicy | None = None,
        log: Log | None = None,
    ) -> None:
        self._store = store
        self._patterns = patterns
        self._known_keys = known_keys
        self._on_gap = on_gap
        retry = retry or RetryPolicy()
        self._log = log or Log(__name__)
        self._hints = FolderHints(store, publisher, retry=retry, log=self._log)
        self._started = asyncio.Event()
        spacing = min(HINT_SPACING_SECONDS, settle_seconds / 2)
        self._keys = Settling(quiet=settle_seconds, spacing=spacing)
        self._arrivals = Settling(quiet=settle_seconds, spacing=spacing)
        self._listed: dict[str, dict[str, str]] = {}
        """What the last listing of an arrived folder showed, key to ETag, until its final one."""
        self._map = FolderMap(store.root, patterns.prunes)
        self._perhaps_young: list[tuple[float, Sequence[str]]] = []
        self._gap_at: float | None = None
        self._gap_filled = float("-inf")
        self._in_hand = 0
        # Not the loop's own threads: those are waited for at the end, and a mount may hang.
        self._threads = DaemonThreads(1, "folder-map")
        self._opening = WatchOpening(
            store,
            lambda: self._in_thread(self._map.scan),
            polling=polling,
            poll_seconds=poll_seconds,
            retry=retry,
            log=self._log,
        )

    @property
    def pending(self) -> int:
        """Files and folders that wait for another hint. 0: all that was seen so far has come to rest."""
        young = sum(len(keys) for _, keys in self._perhaps_young)
        return self._in_hand + len(self._keys) + len(self._arrivals) + young + (self._gap_at is not None)

    @property
    def away(self) -> str | None:
        """Why the folder is not watched now, and what to do about it; None while it is there."""
        return self._opening.away

    async def settled(self, timeout: float) -> Sequence[str]:
        """Wait until all that was seen so far has come to rest and is hinted, or `timeout` seconds have passed.

        Returns what has not come to rest, sorted, at most `UNSETTLED_NAMED` names: files that changed less than
        `settle_seconds` ago, and folders (ending in "/") that arrived then; while the folder is away, also
        files that nobody could look at. Hints that are being published at the timeout are waited for.
        """
        deadline = time.monotonic() + timeout
        while self._in_hand or (self.pending and time.monotonic() < deadline):  # noqa: ASYNC110 - many things end it
            await asyncio.sleep(_POLL_SECONDS)
        young = chain.from_iterable(keys for _, keys in self._perhaps_young)
        return sorted(set(islice(chain(self._keys, self._arrivals, young), UNSETTLED_NAMED)))

    async def started(self) -> None:
        """Return once every later change will be seen: the moment to begin the first reconcile."""
        await self._started.wait()

    def settle_later(self, keys: Sequence[str]) -> None:
        """Somebody else is about to hint at these keys: hint again at those whose file is too young to be judged."""
        self._perhaps_young.append((time.time() - SETTLE_SECONDS, tuple(keys)))

    async def run(self) -> None:
        """Watch until cancelled. While the folder is away, says so and waits for it."""
        again = False
        while True:
            feed = await self._opening.feed()
            try:
                if again:
                    self._gap("the folder was not watched for a while")
                self._started.set()
                await self._follow(feed)
            except ChangesLost as lost:
                self._log.warning("changes_lost", f"{self._store.root}: {lost}; watching again, and comparing all")
                await asyncio.sleep(LOST_SECONDS)
            finally:
                await feed.close()
            again = True

    async def _follow(self, feed: ChangeFeed) -> None:
        """Turn changes into hints until the root is away. Raises `ChangesLost`."""
        reading = asyncio.ensure_future(feed.next())
        checked = time.monotonic()
        try:
            while True:
                await asyncio.wait({reading}, timeout=self._seconds_to_wait())
                if reading.done():
                    changes = reading.result()
                    reading = asyncio.ensure_future(feed.next())
                    with self._working(len(changes)):
                        await self._take(changes)
                await self._hint_again()
                if time.monotonic() - checked >= ROOT_CHECK_SECONDS:
                    checked = time.monotonic()
                    try:
                        await self._store.verify()
                    except DependencyUnavailable:
                        return
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    @contextmanager
    def _working(self, count: int) -> Iterator[None]:
        """These count as pending until they are hinted."""
        self._in_hand += count
        try:
            yield
        finally:
            self._in_hand -= count

    def _seconds_to_wait(self) -> float:
        wakes = (self._keys.next_at, self._arrivals.next_at, self._gap_at)
        now = time.monotonic()
        return max(0.0, min([ROOT_CHECK_SECONDS, *(wake - now for wake in wakes if wake is not None)]))

    async def _take(self, changes: Set[FolderChange]) -> None:
        if not changes:
            return
        if len(changes) >= QUEUE_AT_RISK:
            self._gap(f"{len(changes)} changes at once")
        found = await self._in_thread(self._map.sort, changes)
        now = time.monotonic()
        hints = dict.fromkeys(filter(self._wanted, found.missing), EventKind.REMOVED)
        for key in found.missing:
            self._keys.forget(key)
        hints |= {key: EventKind.CREATED for key in filter(self._wanted, found.files) if self._keys.changed(key, now)}
        await self._hints.publish(hints)
        for folder in topmost(found.departed):
            self._arrivals.forget(folder)
            self._listed.pop(folder, None)
            await self._list_again(folder)
        for folder in topmost(found.arrived):
            if self._arrivals.changed(folder, now):
                await self._list_again(folder, keep=True)
        for folder in topmost(found.touched):
            await self._compare(folder)

    async def _hint_again(self) -> None:
        now = time.monotonic()
        keys, folders = self._keys.due(now), self._arrivals.due(now)
        with self._working(len(keys) + len(folders)):
            await self._hints.publish(dict.fromkeys(keys, EventKind.CREATED))
            for folder, final in folders.items():
                await self._list_again(folder, keep=not final)
        while self._perhaps_young:
            since, hinted = self._perhaps_young[0]
            for key in await self._in_thread(self._changed_since, since, hinted):
                if key not in self._keys:
                    self._keys.changed(key, now)
            del self._perhaps_young[0]
        if self._keys.crowded or self._arrivals.crowded:
            self._keys.crowded = self._arrivals.crowded = False
            self._gap("more files are changing than can be kept in mind")
        if self._gap_at is not None and self._gap_at <= now:
            await self._fill_gap(now)

    def _gap(self, why: str) -> None:
        if self._gap_at is None:
            self._log.info("gap", f"{self._store.root}: {why}; comparing the folder with the index")
            self._gap_at = max(time.monotonic(), self._gap_filled + GAP_SECONDS)

    async def _fill_gap(self, now: float) -> None:
        self._gap_at, self._gap_filled = None, now
        if self._on_gap is not None:
            self._on_gap()
        else:
            await self._list_again("")

    async def _list_again(self, folder: str, *, keep: bool = False) -> None:
        """Hint at all below `folder`, on disk and in the index; of what was listed before, only what differs."""
        before = self._listed.pop(folder, {})
        try:
            listed = {entry.key: entry.etag async for entry in self._store.list(folder) if self._wanted(entry.key)}
            known = {key for key in await self._known_keys(folder) if self._wanted(key)}
        except DependencyUnavailable as error:
            self._log.warning("folder_not_compared", str(error), dependency=error.dependency)
            self._gap(f"{folder} could not be compared")
            return
        if keep:
            self._listed[folder] = listed
        new = [key for key, etag in listed.items() if before.get(key) != etag and key not in self._keys]
        await self._hints.publish(
            dict.fromkeys(known - listed.keys(), EventKind.REMOVED) | dict.fromkeys(new, EventKind.CREATED)
        )
        horizon = time.time() - LOOK_DELAY_SECONDS
        now = time.monotonic()
        for key in new:
            if changed_at(listed[key]) > horizon:
                self._keys.changed(key, now)

    async def _compare(self, folder: str) -> None:
        """Hint at what is only on disk or only in the index: a folder's rights may have changed, or only its times."""
        try:
            listed = {entry.key async for entry in self._store.list(folder) if self._wanted(entry.key)}
            known = {key for key in await self._known_keys(folder) if self._wanted(key)}
        except DependencyUnavailable as error:
            self._log.warning("folder_not_compared", str(error), dependency=error.dependency)
            return
        await self._hints.publish(
            dict.fromkeys(known - listed, EventKind.REMOVED)
            | dict.fromkeys((key for key in listed - known if key not in self._keys), EventKind.CREATED)
        )

    def _changed_since(self, since: float, keys: Sequence[str]) -> list[str]:
        """The keys whose file changed since then (Unix seconds); blocking."""
        young = []
        for key in keys:
            try:
                status = (self._store.root / key).stat()
            except (OSError, ValueError):
                continue
            if max(status.st_mtime, status.st_ctime) > since:
                young.append(key)
        return young

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def _wanted(self, key: str) -> bool:
        return len(key) <= _LONGEST_KEY and self._patterns.wants(key)
