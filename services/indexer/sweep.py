"""Forgetting `gone` points once no late write can still be under way."""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

from runtime.log import Log
from schemas.errors import DependencyUnavailable
from schemas.topics import IMAGE_EMBEDDINGS, IMAGE_EVENTS
from stores.vectors import VectorIndex

KEEP_GONE = IMAGE_EVENTS.retention + IMAGE_EMBEDDINGS.retention + timedelta(days=1)
"""A record can wait out the retention of both topics before its write arrives; `gone` points outlive that."""


class Sweeper:
    """Removes `gone` points older than `KEEP_GONE`, once an hour, by one filter evaluated in the index."""

    def __init__(self, index: VectorIndex, log: Log, *, every_seconds: float = 3600.0) -> None:
        self._index = index
        self._log = log
        self._every = every_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop`. An index that is away is left for the next hour."""
        while not stop.is_set():
            try:
                await self.sweep()
            except DependencyUnavailable as error:
                self._log.warning("sweep_postponed", str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await stop.wait()

    async def sweep(self) -> None:
        """Remove what is old enough now. Versions are milliseconds since 1970 by the store's clock."""
        await self._index.sweep_gone(before_version=int((time.time() - KEEP_GONE.total_seconds()) * 1000))
