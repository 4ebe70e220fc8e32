"""The one stage of ingest: a notification, from whatever receiver, becomes hints for the embedder."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from runtime.batch import Received
from runtime.log import Log
from runtime.settings import LimitSettings
from runtime.stage import Done, Emit, Item, Outcome, Reject
from schemas.dead_letter import RejectReason
from schemas.events import EventOrigin, ImageEvent
from services.ingest.formats import Ignored, ObservedChange, Refused, read_notification
from services.ingest.formats.fields import printable
from services.ingest.metrics import UNKNOWN_ORIGIN, Became, IngestMetrics

S3 = "s3"
"""The object source of every notification: whatever store sends it, it is looked at through the S3 API."""

_TOLD = 3


@dataclass(frozen=True)
class Notification:
    """The bytes that a store sent, in its own format."""

    value: bytes


def decode_notification(record: Received) -> Notification:
    """The notification in a record, for `Worker`; its bytes are judged by the stage."""
    return Notification(record.value)


@dataclass(frozen=True)
class Reading:
    """What became of a notification. `events` holds one hint for each object, in the order of the last mention."""

    events: tuple[ImageEvent, ...]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...]
    counts: Mapping[tuple[EventOrigin | None, Became], int]

    def count(self, became: Became) -> int:
        """How many of the changes mentioned became this."""
        return sum(count for (_, one), count in self.counts.items() if one is became)


class NotificationStage:
    """Turns notifications into `ImageEvent`s; see `services.ingest.formats` for what it reads.

    An event must not make Sightline read any bucket that its credentials could: with
    `allowed_buckets` every other one is refused. With none, any bucket is allowed. `wants` says which
    keys are images by the include and exclude patterns; the others are left alone.
    """

    name = "ingest"

    def __init__(
        self,
        allowed_buckets: Collection[str],
        wants: Callable[[str], bool],
        limits: LimitSettings,
        *,
        metrics: IngestMetrics,
        log: Log | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._allowed = frozenset(allowed_buckets)
        self._wants = wants
        self._limits = limits
        self._metrics = metrics
        self._log = log or Log("sightline.ingest")
        self._now = now

    async def __aenter__(self) -> Self:
        """Nothing to load."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to release."""

    async def process(self, items: Sequence[Item[Notification]]) -> Mapping[str, Outcome]:
        """`Emit` the hints of each notification; `Reject` it, hints and all, where anything in it was refused."""
        readings = await asyncio.to_thread(lambda: {item.id: self.read(item.event) for item in items})
        for reading in readings.values():
            for (origin, became), count in reading.counts.items():
                self._metrics.observed.labels(origin.value if origin else UNKNOWN_ORIGIN, became.value).inc(count)
            for note in reading.notes:
                self._log.warning("notification_note", note, stage=self.name)
        return {one: _outcome(reading) for one, reading in readings.items()}

    def read(self, notification: Notification) -> Reading:
        """What the notification says and what is to become of it. Has no effect, never raises, blocks for its size."""
        events: dict[tuple[str, str], ImageEvent] = {}
        refused: list[Refused] = []
        notes: list[str] = []
        counts: Counter[tuple[EventOrigin | None, Became]] = Counter()
        received_at = self._now()
        for seen in read_notification(notification.value, limits=self._limits):
            if isinstance(seen, Ignored):
                became = Became.IGNORED
                notes += [seen.note] if seen.note else []
            elif isinstance(seen, Refused):
                became = Became.REFUSED
                refused.append(seen)
            elif self._allowed and seen.bucket not in self._allowed:
                became = Became.REFUSED
                refused.append(_not_allowed(seen))
            elif not self._wants(seen.key):
                became = Became.UNWANTED
            else:
                became = Became.HINT
                # Two mentions of one object are one look; the later one is kept, in its own place.
                events.pop((seen.bucket, seen.key), None)
                events[seen.bucket, seen.key] = _hint(seen, received_at)
            counts[seen.origin, became] += 1
        return Reading(tuple(events.values()), tuple(refused), tuple(notes), counts)


def _hint(seen: ObservedChange, received_at: datetime) -> ImageEvent:
    return ImageEvent(
        source=S3,
        bucket=seen.bucket,
        key=seen.key,
        kind=seen.kind,
        origin=seen.origin,
        event_time=seen.event_time,
        received_at=received_at,
        claim=seen.claim,
    )


def _not_allowed(seen: ObservedChange) -> Refused:
    return Refused(
        RejectReason.BUCKET_NOT_ALLOWED,
        f"bucket {printable(seen.bucket)} is not among SIGHTLINE_INGEST__BUCKETS; add it there, "
        "or keep its notifications away",
        seen.origin,
    )


def _outcome(reading: Reading) -> Outcome:
    if not reading.refused:
        return Emit(reading.events) if reading.events else Done()
    details = list(dict.fromkeys(f"{one.reason}: {one.detail}" for one in reading.refused[:100]))
    rest = f"; {len(reading.refused)} refused in all" if len(reading.refused) > 1 else ""
    return Reject(reading.refused[0].reason, "; ".join(details[:_TOLD]) + rest, reading.events)
