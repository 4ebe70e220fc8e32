"""Everything between a source and the index in one process, on in-process queues: `up`, `index`, `demo`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cli.canary import CanaryCheck, ensure_collection
from cli.indexes import make_index
from cli.model_metrics import show_model
from cli.models import make_engine
from cli.parts import Parts
from cli.patterns import key_patterns
from cli.sources import OneStore, OpenSource, check_source, open_source
from cli.tagging import make_tagging
from encoders.engine import EncoderEngine
from runtime.dead_letters import FileDeadLetters
from runtime.in_process import CAPACITY, InProcessConsumer, InProcessTopic, QueueMetrics
from runtime.lifecycle import Component
from runtime.metrics import StageMetrics
from schemas.codec import decode_image_event, decode_judgement
from schemas.collection import Status
from schemas.errors import DependencyUnavailable
from schemas.topics import IMAGE_EMBEDDINGS, IMAGE_EVENTS
from services.embedder.metrics import EmbedderMetrics
from services.embedder.stage import EmbedderStage
from services.embedder.tagging import Tagging
from services.indexer.metrics import IndexerMetrics
from services.indexer.stage import IndexerStage
from services.indexer.sweep import Sweeper
from services.ingest.drift import ReconcileMetrics, Report
from services.ingest.folder_watch import FolderWatch
from services.ingest.patterns import KeyPatterns
from services.ingest.reconcile import Guard, Reconciler
from stores.folder import FolderStore
from stores.vectors import VectorIndex, Where

FOLDER_INTERVAL = 600.0
BUCKET_INTERVAL = 60.0
RETRY_SECONDS = 5.0


@dataclass
class EmbeddedPipeline:
    """An entered pipeline. Its components do the work once they run."""

    parts: Parts
    source: OpenSource
    index: VectorIndex
    engine: EncoderEngine
    events: InProcessTopic
    embeddings: InProcessTopic
    dead_letters: FileDeadLetters
    patterns: KeyPatterns
    embedder: InProcessConsumer
    indexer: InProcessConsumer
    stages: Sequence[StageMetrics]
    reconcile_metrics: ReconcileMetrics
    watch: FolderWatch | None
    canary: CanaryCheck | None
    """None where nothing is written."""
    tagging: Tagging | None
    """None where nothing is written, or no tags are wanted."""
    gap: asyncio.Event
    """Set when changes may have been missed: compare soon."""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_report: Report | None = None

    def stage_components(self) -> list[list[Component]]:
        """The stages, in the order in which they must stop."""
        return [
            [Component("embedder", self.embedder.run)],
            [
                Component("indexer", self.indexer.run),
                Component("sweeper", Sweeper(self.index, self.parts.log).run),
            ],
        ]

    def feed_components(self) -> list[Component]:
        """What keeps the source's changes coming, and the vectors true: watch, scheduled reconcile, canary."""
        every = self.parts.settings.reconcile.interval or (FOLDER_INTERVAL if self.watch else BUCKET_INTERVAL)
        return [
            Component("reconcile", lambda stop: _until(stop, self._reconcile_every(every))),
            *([] if self.canary is None else [Component("canary", self.canary.run)]),
            *self.watch_components(),
        ]

    def watch_components(self) -> list[Component]:
        """The watch of a folder; a bucket has none."""
        watch = self.watch
        return [] if watch is None else [Component("watch", lambda stop: _until(stop, watch.run()))]

    def reconciler(
        self,
        *,
        guard: Guard,
        dry_run: bool = False,
        retry_rejected: bool = False,
        as_of: datetime | None = None,
    ) -> Reconciler:
        """A reconcile of this pipeline's source; `as_of` is when an earlier one began that this one checks."""
        return Reconciler(
            self.source.store,
            self.index,
            None if dry_run else self.parts.tracing.beginning(self.events.publisher()),
            encoder=self.engine.encoder.identity,
            wants=self.patterns.wants,
            guard=guard,
            prefix=self.source.prefix,
            retry_rejected=retry_rejected,
            metrics=None if dry_run else self.reconcile_metrics,
            hint_again=self.watch.settle_later if self.watch else None,
            as_of=as_of,
        )

    async def settle(self, patience: float) -> Sequence[str]:
        """Wait until no hint waits and no event and no judgement is unfinished.

        Files that keep changing are waited for no longer than `patience` seconds, and named in the answer.
        """
        changing = await self.watch.settled(patience) if self.watch is not None else ()
        await self.events.idle()
        await self.embeddings.idle()
        return changing

    def waiting_for(self) -> list[str]:
        """What is away now: dependencies of the stages, and the folder itself with the reason."""
        away = {name for stage in self.stages for name in stage.waiting_for}
        if self.watch is not None and self.watch.away is not None:
            away.add(self.watch.away)
        return sorted(away)

    async def counts(self) -> dict[str, int]:
        """Points by status, and what is under way."""
        counted = {status.value: await self.index.count(Where(status=status)) for status in Status}
        return counted | {"waiting": self.events.unfinished + self.embeddings.unfinished}

    async def _reconcile_every(self, seconds: float) -> None:
        if self.watch is not None:
            await self.watch.started()
        while True:
            try:
                guard = Guard(only_empty=True)
                self.last_report = await self.reconciler(guard=guard).run()
                if self.last_report.refused:
                    self.parts.log.warning("reconcile_refused", self.last_report.refused)
                wait = seconds
            except DependencyUnavailable as error:
                self.parts.log.warning("reconcile_postponed", str(error), dependency=error.dependency)
                wait = min(seconds, RETRY_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self.gap.wait()
            self.gap.clear()


@asynccontextmanager
async def embedded_pipeline(
    parts: Parts, source_text: str, *, only_read: bool = False
) -> AsyncIterator[EmbeddedPipeline]:
    """Open index, model and source, and wire the queues between them. Raises `ConfigurationError`.

    `only_read` makes no collection and claims no name, for a comparison that changes nothing.
    """
    settings = parts.settings
    check_source(source_text, settings)
    embedder_metrics = EmbedderMetrics(parts.registry, dollars_per_hour=settings.cost.device_dollars_per_hour)
    # Before anything is made on disk: it may refuse the model.
    engine = make_engine(parts, embedder_metrics)
    async with AsyncExitStack() as entered:
        await entered.enter_async_context(parts.tracing)
        index = await entered.enter_async_context(make_index(parts))
        await entered.enter_async_context(engine)
        embedder_metrics.watch(engine)
        show_model(engine, parts.registry)
        canary: CanaryCheck | None = None
        if not only_read:
            canary = await ensure_collection(index, engine, parts, writes=True)
        source = await open_source(source_text, settings, index, claim=not only_read)
        await entered.enter_async_context(source.store)
        consumers = settings.encoder.consumers
        events = InProcessTopic(IMAGE_EVENTS.name, lanes=consumers, capacity=CAPACITY)
        embeddings = InProcessTopic(IMAGE_EMBEDDINGS.name, lanes=1, capacity=CAPACITY)
        queues = QueueMetrics(parts.registry)
        queues.watch(events)
        queues.watch(embeddings)
        queues.watch_backlog(events)
        dead_letters = FileDeadLetters(settings.data_dir / "dead-letters")
        stages = [parts.metrics.stage("embedder"), parts.metrics.stage("indexer")]
        tagging = None if only_read else make_tagging(parts, engine)
        embedder = await entered.enter_async_context(
            EmbedderStage(
                OneStore(source.store),
                engine,
                metrics=embedder_metrics,
                cache_entries=settings.encoder.cache_entries,
                in_hand=2 * settings.encoder.batch_size,
                in_hand_bytes=settings.limits.in_hand_bytes,
                tagging=tagging,
                with_location=settings.payload.gps,
            )
        )
        indexer = await entered.enter_async_context(
            IndexerStage(
                index, model=engine.encoder.identity.model, metrics=IndexerMetrics(parts.registry, settings.freshness)
            )
        )
        patterns = key_patterns(settings)
        gap = asyncio.Event()
        yield EmbeddedPipeline(
            parts=parts,
            source=source,
            index=index,
            engine=engine,
            events=events,
            embeddings=embeddings,
            dead_letters=dead_letters,
            patterns=patterns,
            embedder=InProcessConsumer(
                events,
                parts.worker(
                    embedder,
                    lambda record: decode_image_event(record.value, record.headers),
                    embeddings.publisher(),
                    dead_letters,
                    stages[0],
                ),
                batch_records=settings.encoder.batch_size,
            ),
            indexer=InProcessConsumer(
                embeddings,
                parts.worker(
                    indexer,
                    lambda record: decode_judgement(record.value, record.headers),
                    None,
                    dead_letters,
                    stages[1],
                ),
                batch_records=256,
                drain=True,
            ),
            stages=stages,
            reconcile_metrics=ReconcileMetrics(parts.registry),
            watch=_watch(parts, source, patterns, events, index, gap),
            canary=canary,
            tagging=tagging,
            gap=gap,
        )


def _watch(
    parts: Parts,
    source: OpenSource,
    patterns: KeyPatterns,
    events: InProcessTopic,
    index: VectorIndex,
    gap: asyncio.Event,
) -> FolderWatch | None:
    store = source.store
    if not isinstance(store, FolderStore):
        return None
    return FolderWatch(
        store,
        patterns,
        parts.tracing.beginning(events.publisher()),
        known_keys=_known_keys(index, store),
        on_gap=gap.set,
        log=parts.log,
    )


def _known_keys(index: VectorIndex, store: FolderStore) -> Callable[[str], Awaitable[Sequence[str]]]:
    async def known(prefix: str) -> Sequence[str]:
        keys: list[str] = []
        for status in (Status.INDEXED, Status.REJECTED):
            where = Where(status=status, source=store.source, bucket=store.bucket, prefix=prefix or None)
            cursor: str | None = None
            while True:
                page = await index.scroll(where, limit=1000, cursor=cursor)
                keys += [point.payload.key for point in page.points]
                cursor = page.cursor
                if cursor is None:
                    break
        return keys

    return known


async def _until(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Work until `stop`, then cancel it; its failure is raised."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
