"""The start of a watch on a folder: wait until the folder is there, and open the best feed of its changes."""

import asyncio
from collections.abc import Awaitable, Callable

from runtime.log import Log
from runtime.retry import RetryPolicy
from schemas.errors import DependencyUnavailable
from services.ingest.folder_changes import ChangeFeed, ComparedChanges, NotifiedChanges, WatchRefused
from stores.folder import FolderStore

ROOT_CHECK_SECONDS = 1.0


class WatchOpening:
    """Opens feeds for one folder, again and again.

    `scan` goes through the folder and answers the key of a link that leads out of it, if there is one. Once the
    system has refused a watch, or with `polling`, listings are compared every `poll_seconds` instead.
    """

    def __init__(
        self,
        store: FolderStore,
        scan: Callable[[], Awaitable[str | None]],
        *,
        polling: bool,
        poll_seconds: float,
        retry: RetryPolicy,
        log: Log,
    ) -> None:
        self._store = store
        self._scan = scan
        self._polling = polling
        self._poll_seconds = poll_seconds
        self._retry = retry
        self._log = log
        self.away: str | None = None
        """Why the folder is not watched now, and what to do about it; None while it is there."""

    async def feed(self) -> ChangeFeed:
        """An opened feed, once the folder is there: notifications where they can be had, else comparisons."""
        await self._root()
        notified = await self._notified()
        return notified if notified is not None else await self._compared()

    async def _root(self) -> None:
        while True:
            try:
                await self._store.verify()
            except DependencyUnavailable as error:
                # Said again when it changes: a folder that is gone may be replaced by another, with another remedy.
                if str(error) != self.away:
                    self.away = str(error)
                    self._log.warning("folder_away", self.away)
                await asyncio.sleep(ROOT_CHECK_SECONDS)
            else:
                if self.away is not None:
                    self.away = None
                    self._log.info("folder_back", f"{self._store.root} is back")
                return

    async def _notified(self) -> ChangeFeed | None:
        if self._polling:
            return None
        outside = await self._scan()
        notified = NotifiedChanges(self._store.root)
        try:
            if outside is not None:
                raise WatchRefused(
                    f"{self._store.root / outside} leads out of the folder, and a watch would follow it. "
                    f"Replace the link by a mount, or leave it"
                )
            await notified.open()
        except BaseException as error:
            await notified.close()
            if not isinstance(error, WatchRefused):
                raise
            self._polling = True
            self._log.warning("watch_refused", f"{error}; until then, listings are compared instead")
            return None
        await self._scan()
        return notified

    async def _compared(self) -> ChangeFeed:
        compared = ComparedChanges(self._store, seconds=self._poll_seconds, log=self._log)
        attempt = 0
        while True:
            try:
                await compared.open()
            except DependencyUnavailable as error:
                self._log.warning("folder_not_listed", str(error))
                await asyncio.sleep(self._retry.delay(attempt))
                attempt += 1
                await self._root()
            else:
                return compared
