"""Bucket against index: what is missing, stale or orphaned becomes hints through the same pipeline.

Reconcile never writes or deletes by itself: each difference is an `ImageEvent` whose look decides.
It is also backfill, the restart of embedded mode, and the cure for lost events. It needs no
checkpoint of its own: what an interrupted run has brought into the index, the next one finds there.

Memory: 8 bytes for each listed object, plus the orphans. Two different ids share their first 64
bits with probability n/2^64; an orphan so hidden is found once the colliding object goes.
"""

import time
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from runtime.batch import Publisher
from runtime.release import RELEASE
from schemas.codec import encode
from schemas.collection import Status
from schemas.errors import SightlineError
from schemas.events import EncoderIdentity, EventOrigin, ImageEvent, point_id
from services.ingest.drift import Aside, DriftKind, ReconcileMetrics, Report
from stores.objects import ListedObject, ObjectStore
from stores.vectors import Page, StoredPoint, Where

PAGE = 500

GRACE = timedelta(minutes=2)
"""What changed so shortly before a pass is no drift: its event is still under way, which takes seconds where all is
well, and the store's clock may be a minute from ours."""
UNREADABLE_AGAIN = timedelta(hours=1)
"""So long after the last look an object that nobody could read is looked at again: somebody may have restored it."""
_DATE_MS = 1000
"""A store's dates are rounded down to so much."""


class GuardRefused(SightlineError):
    """Turning so many points to gone needs someone's word."""


class IndexReader(Protocol):
    """The reads that reconcile needs; every `VectorIndex` has them."""

    async def get(self, ids: Sequence[UUID], *, with_vectors: bool = False) -> Sequence[StoredPoint]:
        """The points that exist, of any status."""
        ...

    async def scroll(self, where: Where, *, limit: int, cursor: str | None = None, with_vectors: bool = False) -> Page:
        """A page of the points that match."""
        ...


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Refuses when more than `share` of the indexed points and more than `count` of them would be turned to gone."""

    share: float = 0.10
    count: int = 100
    only_empty: bool = False
    """Refuse only a listing that is empty while the index is not, as `sightline up` does."""

    def check(self, *, bucket: str, orphaned: int, indexed: int, listed: int) -> None:
        """Raise `GuardRefused` when too much would go."""
        if self.only_empty:
            if listed == 0 and indexed > 0:
                raise GuardRefused(
                    f"{bucket}: the listing is empty, the index holds {indexed} images; none was touched. Is this the "
                    "right bucket or folder, and is it mounted? If everything was deleted on purpose, stop `sightline "
                    "up` where it runs, and say `sightline index SOURCE --allow-mass-delete`"
                )
            return
        if orphaned > self.count and orphaned > self.share * indexed:
            raise GuardRefused(
                f"{bucket}: {orphaned} of {indexed} indexed objects are no longer in the bucket, more than "
                f"{self.share:.0%} and more than {self.count}. Is this the right bucket? If they were deleted on "
                "purpose, say --allow-mass-delete, or raise SIGHTLINE_RECONCILE__MAX_GONE; no orphan was touched"
            )


Progress = Callable[[Report], None]


class Reconciler:
    """Compares one bucket, or one prefix of it, with the index.

    `as_of` is the moment at which an earlier pass began, to see what became of its hints: whatever changed later is no
    drift. Without it that is what changed since `GRACE` before this pass.
    """

    def __init__(
        self,
        store: ObjectStore,
        index: IndexReader,
        publisher: Publisher | None,
        *,
        encoder: EncoderIdentity,
        wants: Callable[[str], bool],
        guard: Guard,
        prefix: str = "",
        retry_rejected: bool = False,
        metrics: ReconcileMetrics | None = None,
        hint_again: Callable[[Sequence[str]], None] | None = None,
        progress: Progress = lambda report: None,
        as_of: datetime | None = None,
    ) -> None:
        self._store = store
        self._index = index
        self._publisher = publisher
        self._encoder = encoder
        self._wants = wants
        self._guard = guard
        self._prefix = prefix
        self._retry_rejected = retry_rejected
        self._metrics = metrics
        self._hint_again = hint_again
        self._progress = progress
        self._as_of = as_of
        # A folder leaves what may not be read out of its listings, and a file that is moved back keeps its old date.
        self._lists_unreadable = store.source == "s3"

    async def run(self) -> Report:
        """One pass. With a publisher every difference is sent; without one (a dry run) it is only counted.

        Sent, but no drift, is what changed lately (`Report.recent`), and now and then what is listed but could not be
        read (`Report.unreadable`). A point that was written since the pass began is left to the next.

        Raises `DependencyUnavailable` when bucket or index cannot be read to the end; what was sent
        until then does no harm. Orphans are looked for last, over a listing that was completed; when the
        guard refuses them, `Report.refused` says why and none is sent.
        """
        started = time.perf_counter()
        report = Report(self._store.bucket)
        report.began = self._as_of or report.began
        listed = array("Q")
        async for page in _pages(self._store.list(self._prefix), PAGE):
            listed.extend(_short(self._id(entry.key)) for entry in page)
            wanted = [entry for entry in page if self._wants(entry.key)]
            report.listed += len(wanted)
            report.unwanted += len(page) - len(wanted)
            await self._send(await self._compare(wanted, report), report)
            self._progress(report)
        known = np.sort(np.frombuffer(listed, dtype=np.uint64)) if listed else np.empty(0, dtype=np.uint64)
        orphans, indexed = await self._orphans(known, report)
        try:
            self._guard.check(bucket=report.bucket, orphaned=len(orphans), indexed=indexed, listed=len(listed))
            events = [self._event(point.payload.key, after=point.payload.version) for point in orphans]
            await self._send(events, report)
        except GuardRefused as error:
            report.refused = str(error)
        report.seconds = time.perf_counter() - started
        if self._metrics is not None:
            self._metrics.record(report)
        self._progress(report)
        return report

    async def _compare(self, entries: Sequence[ListedObject], report: Report) -> list[ImageEvent]:
        ids = {self._id(entry.key): entry for entry in entries}
        stored = {point.id: point for point in await self._index.get(list(ids))} if ids else {}
        events: list[ImageEvent] = []
        for one, entry in ids.items():
            point = stored.get(one)
            finding = self._finding(entry, point, report.began)
            if finding is not None:
                report.count(finding, entry.key)
                if finding is Aside.UNREADABLE and point is not None and _looked_at_lately(point, report.began):
                    continue
            elif point is not None and point.payload.status is Status.REJECTED and self._retry_rejected:
                report.retried += 1
            else:
                report.unchanged += 1
                continue
            events.append(self._event(entry.key, after=point.payload.version if point else 0))
        return events

    def _finding(self, entry: ListedObject, point: StoredPoint | None, began: datetime) -> DriftKind | Aside | None:
        """How an object that is listed differs from its point; None where it does not."""
        if point is None:
            return self._unless_recent(DriftKind.MISSING, entry.modified_at, began)
        if point.payload.status is Status.GONE:
            if self._lists_unreadable and _looked_at_since(entry.modified_at, point):
                return Aside.UNREADABLE
            return self._unless_recent(DriftKind.MISSING, entry.modified_at, began)
        if not self._stale(point, entry):
            return None
        # The point may know of a change that is later than its part of the listing.
        changed = max(entry.modified_at, point.payload.uploaded_at or entry.modified_at)
        return self._unless_recent(DriftKind.STALE, changed, began)

    def _unless_recent(self, kind: DriftKind, changed: datetime, began: datetime) -> DriftKind | Aside:
        # Anyone may give a file a date in the future, which tells nothing.
        recent = (self._as_of or began - GRACE) < changed < datetime.now(UTC) + GRACE
        return Aside.RECENT if recent else kind

    def _stale(self, point: StoredPoint, entry: ListedObject) -> bool:
        payload = point.payload
        if payload.etag != entry.etag or payload.size != entry.size:
            return True
        if payload.fingerprint != self._encoder.fingerprint:
            return True
        # A later release may be able to read what an earlier one rejected.
        return payload.status is Status.REJECTED and payload.release != RELEASE

    async def _orphans(self, known: NDArray[np.uint64], report: Report) -> tuple[list[StoredPoint], int]:
        orphans: list[StoredPoint] = []
        indexed = 0
        for status in (Status.INDEXED, Status.REJECTED):
            where = Where(
                status=status, source=self._store.source, bucket=self._store.bucket, prefix=self._prefix or None
            )
            cursor: str | None = None
            while True:
                page = await self._index.scroll(where, limit=PAGE, cursor=cursor)
                shorts = np.array([_short(point.id) for point in page.points], dtype=np.uint64)
                places = np.searchsorted(known, shorts)
                indexed += len(page.points)
                for point, short, place in zip(page.points, shorts, places, strict=True):
                    # What was indexed meanwhile may be newer than its part of the listing; the next pass sees.
                    if point.payload.indexed_at <= report.began and (place == len(known) or known[place] != short):
                        orphans.append(point)
                        report.count(DriftKind.ORPHANED, point.payload.key)
                cursor = page.cursor
                if cursor is None:
                    break
        return orphans, indexed

    async def _send(self, events: Sequence[ImageEvent], report: Report) -> None:
        report.hinted += len(events)
        if self._publisher is None or not events:
            return
        if self._hint_again is not None:
            # Before the first hint can be acted on: afterwards a file that was young then may look old.
            self._hint_again([event.key for event in events])
        await self._publisher.publish([encode(event) for event in events])

    def _event(self, key: str, *, after: int) -> ImageEvent:
        now = datetime.now(UTC)
        return ImageEvent(
            source=self._store.source,
            bucket=self._store.bucket,
            key=key,
            origin=EventOrigin.RECONCILE,
            after=after,
            received_at=now,
        )

    def _id(self, key: str) -> UUID:
        return point_id(self._store.source, self._store.bucket, key)


def _looked_at_since(modified_at: datetime, point: StoredPoint) -> bool:
    """Whether the look that judged the point was certainly later than the object's last change."""
    return point.payload.version > 1000 * modified_at.timestamp() + _DATE_MS


def _looked_at_lately(point: StoredPoint, began: datetime) -> bool:
    return began - point.payload.indexed_at <= UNREADABLE_AGAIN


def _short(one: UUID) -> int:
    return one.int >> 64


async def _pages(entries: AsyncIterator[ListedObject], size: int) -> AsyncIterator[Sequence[ListedObject]]:
    page: list[ListedObject] = []
    async for entry in entries:
        page.append(entry)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
