"""The embedder: for every hint, look at the object as it is now, and say what it is.

One look per object and batch, however many hints there are; `version = max(Date of the look,
after + 1)` as docs/architecture.md explains. The event's claims are never consulted.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self, cast

from encoders.engine import EncodedImage, EncoderEngine
from imaging.decode import BadImage
from runtime.in_hand import Phase, Spent, in_hand
from runtime.release import RELEASE
from runtime.stage import Done, Emit, Item, Outcome, Reject
from schemas.dead_letter import RejectReason
from schemas.errors import DependencyUnavailable
from schemas.events import MAX_VERSION, ImageEmbedded, ImageEvent, ImageGone, ImageRejected, ObjectFacts
from services.embedder.byte_room import ByteRoom, Place
from services.embedder.flow import Flows
from services.embedder.metrics import EmbedderMetrics
from services.embedder.tagging import Tagging
from services.embedder.vector_cache import VectorCache
from stores.objects import Found, Look, Missing, ObjectStore, Oversized


class StoreDirectory(Protocol):
    """Finds the store that an event is about."""

    async def store(self, source: str, bucket: str) -> ObjectStore | None:
        """The store, or None when this embedder must not read it. May raise `DependencyUnavailable`."""
        ...


class EmbedderStage:
    """`ImageEvent` to `ImageEmbedded`, `ImageGone` or `ImageRejected`.

    `in_hand` bounds the objects whose bytes are in memory at once, over all consumers of the process,
    and `in_hand_bytes` their bytes together.
    Coordinates leave the embedder only `with_location`, tags only with `tagging`.
    The engine is entered by whoever owns it, since search shares it.
    """

    name = "embedder"

    def __init__(
        self,
        stores: StoreDirectory,
        engine: EncoderEngine,
        *,
        metrics: EmbedderMetrics,
        cache_entries: int = 10_000,
        in_hand: int = 64,
        in_hand_bytes: int = 256 * 1024 * 1024,
        tagging: Tagging | None = None,
        with_location: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stores = stores
        self._engine = engine
        self._metrics = metrics
        self._cache = VectorCache(cache_entries)
        self._in_hand = asyncio.Semaphore(in_hand)
        self._room = ByteRoom(in_hand_bytes)
        self._flows = Flows()
        self._looks = 0
        self._tagging = tagging
        self._with_location = with_location
        self._now = now

    async def __aenter__(self) -> Self:
        """Begin with the tags; the engine is entered by its owner."""
        if self._tagging is not None:
            await self._tagging.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End with the tags."""
        if self._tagging is not None:
            await self._tagging.__aexit__(kind, error, trace)

    async def process(self, items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        """Look once at each object that the batch names. Raises `DependencyUnavailable` for the whole batch."""
        hints: dict[str, list[Item[ImageEvent]]] = {}
        for item in items:
            hints.setdefault(f"{item.event.source}://{item.event.partition_key}", []).append(item)
        answers = await asyncio.gather(
            *(self._judge(same[-1].id, [item.event for item in same]) for same in hints.values()),
            return_exceptions=True,
        )
        # A bug outranks an outage: retrying would hide it.
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        failures.sort(key=lambda failure: isinstance(failure, DependencyUnavailable))
        if failures:
            raise failures[0]
        outcomes: dict[str, Outcome] = {}
        for same, answer in zip(hints.values(), answers, strict=True):
            # The last hint carries the outcome; the earlier ones are answered by the same look.
            outcomes |= {item.id: Done() for item in same[:-1]}
            outcomes[same[-1].id] = cast("Outcome", answer)
        return outcomes

    async def _judge(self, item: str, hints: Sequence[ImageEvent]) -> Outcome:
        """The outcome of the item with that id, which is the last of the hints at one object."""
        outcome = await self._look(item, hints)
        in_hand().moved()
        return outcome

    async def _look(self, item: str, hints: Sequence[ImageEvent]) -> Outcome:
        event = hints[-1]
        store = await self._stores.store(event.source, event.bucket)
        if store is None:
            return Reject(
                RejectReason.BUCKET_NOT_ALLOWED,
                f"{event.source}://{event.bucket} is not among the buckets that this embedder may read; "
                "add it to SIGHTLINE_INGEST__BUCKETS or start with that source",
            )
        async with self._place() as place:
            look = await self._fetched(item, store, event)
            about: dict[str, Any] = {
                "source": event.source,
                "bucket": event.bucket,
                "key": event.key,
                "encoder": self._engine.encoder.identity,
                "version": min(MAX_VERSION, max(look.date_ms, max(hint.after for hint in hints) + 1)),
                "event_time": event.event_time,
                "received_at": event.received_at,
                "origin": event.origin.value,
                "looked_at": self._now(),
            }
            if isinstance(look, Missing):
                self._metrics.looks.labels("missing").inc()
                return Emit((ImageGone(**about, judged_at=self._now()),))
            if isinstance(look, Oversized):
                detail = (
                    f"{event.partition_key} has {look.facts.size} bytes, more than the {look.limit} that "
                    "SIGHTLINE_LIMITS__OBJECT_BYTES allows"
                )
                return self._rejected(about, look.facts, RejectReason.TOO_LARGE, detail)
            await self._room.measured(place, len(look.data))
            self._metrics.bytes.labels(event.source).inc(len(look.data))
            return await self._embed(item, about, look)

    async def _fetched(self, item: str, store: ObjectStore, event: ImageEvent) -> Look:
        """One look. While bytes come it is no stall, however slowly they do."""
        hand = in_hand()
        seconds = self._metrics.look_seconds.labels(event.source)
        with hand.spending(Phase.FETCH, item), seconds.time(), self._flows.one() as flow, hand.behind(flow.moves):
            return await store.look(event.key, flowed=flow.add)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[Place]:
        """Wait for a turn among all consumers' objects. No stall while any of theirs comes in or is finished."""
        async with AsyncExitStack() as held:
            with in_hand().behind(self._looks_finished), in_hand().behind(self._flows.moves):
                await held.enter_async_context(self._in_hand)
                place = await held.enter_async_context(self._room.place())
            try:
                yield place
            finally:
                self._looks += 1

    def _looks_finished(self) -> int:
        return self._looks

    async def _embed(self, item: str, about: dict[str, Any], look: Found) -> Outcome:
        hand = in_hand()
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(look.data).hexdigest())
        # Where names make the vector, the same bytes under another name are another image.
        content = f"{sha256} {about['key']}" if self._engine.reads_names else sha256
        began = time.perf_counter()
        try:
            with hand.behind(self._engine.passes):
                encoded, reused = await self._cache.encoded(
                    content, lambda: self._engine.embed_image(look.data, key=about["key"])
                )
        except BadImage as error:
            hand.spent.append(Spent(Phase.DECODE, began, time.perf_counter(), item))
            if not look.settled:
                # Perhaps half-written: no verdict. Whoever hinted at so young a file hints again.
                self._metrics.looks.labels("unsettled").inc()
                return Done()
            detail = f"{about['bucket']}/{about['key']}: {error.detail}"
            return self._rejected(about, look.facts, error.reason, detail)
        if reused:
            self._metrics.reused.inc()
        elif encoded.steps is not None:
            steps = encoded.steps
            hand.spent.append(Spent(Phase.DECODE, steps.began, steps.prepared, item))
            hand.spent.append(Spent(Phase.FORWARD, steps.prepared, steps.ended, item))
        self._metrics.looks.labels("image").inc()
        return Emit((await self._embedded(about, look.facts, sha256, encoded),))

    async def _embedded(
        self, about: dict[str, Any], facts: ObjectFacts, sha256: str, encoded: EncodedImage
    ) -> ImageEmbedded:
        tagger = await self._tagging.tagger() if self._tagging is not None else None
        image = encoded.image if self._with_location else encoded.image.model_copy(update={"location": None})
        return ImageEmbedded(
            **about,
            judged_at=self._now(),
            object=facts,
            image=image,
            tags=tagger.tags(encoded.vector[None])[0] if tagger else (),
            tags_version=tagger.version if tagger else None,
            sha256=sha256,
            vector=encoded.vector.astype("<f4", copy=False).tobytes(),
        )

    def _rejected(self, about: dict[str, Any], facts: ObjectFacts, reason: RejectReason, detail: str) -> Outcome:
        self._metrics.looks.labels("rejected").inc()
        event = ImageRejected(
            **about, judged_at=self._now(), object=facts, reason=reason, detail=detail[:500], release=RELEASE
        )
        return Reject(reason, detail, (event,))
