"""Hints at a folder's files: events that say no more than that there is something to look at."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from runtime.batch import Publisher
from runtime.log import Log
from runtime.retry import RetryPolicy
from schemas.codec import encode
from schemas.errors import DependencyUnavailable
from schemas.events import EventKind, EventOrigin, ImageEvent
from stores.objects import ObjectStore

PUBLISH_AT_ONCE = 1000
"""Messages in one call of the publisher."""


class FolderHints:
    """Publishes hints at keys of `store`, for as long as the transport is away."""

    def __init__(self, store: ObjectStore, publisher: Publisher, *, retry: RetryPolicy, log: Log) -> None:
        self._store = store
        self._publisher = publisher
        self._retry = retry
        self._log = log

    async def publish(self, hints: Mapping[str, EventKind]) -> None:
        """Return when all hints are acknowledged. `hints` maps keys to what seems to have happened."""
        keys = sorted(hints)
        for start in range(0, len(keys), PUBLISH_AT_ONCE):
            now = datetime.now(UTC)
            messages = [encode(self._event(key, hints[key], now)) for key in keys[start : start + PUBLISH_AT_ONCE]]
            attempt = 0
            while True:
                try:
                    await self._publisher.publish(messages)
                    break
                except DependencyUnavailable as error:
                    self._log.warning("hints_wait", str(error), dependency=error.dependency, hints=len(messages))
                    await asyncio.sleep(self._retry.delay(attempt))
                    attempt += 1

    def _event(self, key: str, kind: EventKind, now: datetime) -> ImageEvent:
        return ImageEvent(
            source=self._store.source,
            bucket=self._store.bucket,
            key=key,
            kind=kind,
            origin=EventOrigin.FOLDER,
            event_time=now,
            received_at=now,
        )
