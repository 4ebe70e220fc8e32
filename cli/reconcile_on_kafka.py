"""`sightline reconcile` in a fleet: hints go onto Kafka, and the index is read where it is served."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from uuid import UUID

import httpx
from rich.console import Console

from cli.address import find_running, key_headers
from cli.indexes import make_index
from cli.parts import Parts
from cli.pass_metrics import tell_metrics
from cli.pass_report import PassOptions, show_report
from cli.patterns import key_patterns
from cli.search import answer_of
from cli.sources import s3_store
from runtime.kafka.admin import check_broker
from runtime.kafka.producer import KafkaPublisher
from runtime.lifecycle import ExitCode
from runtime.settings import Settings
from schemas.collection import PointPayload
from schemas.errors import ConfigurationError, DependencyUnavailable
from schemas.events import EncoderIdentity
from schemas.topics import IMAGE_EVENTS
from services.ingest.drift import ReconcileMetrics, Report
from services.ingest.reconcile import IndexReader, Reconciler
from sightline_client.patience import Patience
from stores.source import FolderSource, parse_source
from stores.vectors import Page, StoredPoint, Where

PATIENCE_SECONDS = 120.0
"""So long after the drift was last less than ever, the second comparison is called a failure."""
SETTLE_SECONDS = 2 * 3600.0
"""And so long after the hints were sent in any case: before a scheduled job is killed, and says nothing."""


class ServedIndex:
    """The index as a running search service shows it, for an Edge index that another process holds.

    It asks far more often than a key may, so it waits whenever it is told to. Every method raises
    `DependencyUnavailable` where that took no end, or nobody answers, and `SightlineError` for a refusal.
    """

    def __init__(self, client: httpx.AsyncClient, patience: Patience = Patience(attempts=60, longest=60.0)) -> None:
        self._client = client
        self._patience = patience
        self._at_once = asyncio.Semaphore(16)

    async def get(self, ids: Sequence[UUID], *, with_vectors: bool = False) -> Sequence[StoredPoint]:
        """The points that exist, one request each."""
        found = await asyncio.gather(*(self._one(one) for one in ids))
        return [point for point in found if point is not None]

    async def scroll(self, where: Where, *, limit: int, cursor: str | None = None, with_vectors: bool = False) -> Page:
        """A page of the points that match."""
        wanted = {
            "status": where.status.value if where.status else "any",
            "source": where.source,
            "bucket": where.bucket,
            "prefix": where.prefix,
            "cursor": cursor,
            "limit": limit,
        }
        params = {name: value for name, value in wanted.items() if value is not None}
        page = answer_of(await self._get("/v1/images", params))
        points = [
            StoredPoint(UUID(image["id"]), PointPayload.model_validate(image["payload"])) for image in page["images"]
        ]
        return Page(points, page["next_cursor"])

    async def encoder(self) -> EncoderIdentity:
        """The encoder of the served collection."""
        return EncoderIdentity.model_validate(answer_of(await self._get("/v1/status", {})))

    async def _one(self, one: UUID) -> StoredPoint | None:
        async with self._at_once:
            response = await self._get(f"/v1/images/{one}", {"status": "any"})
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        image = answer_of(response)
        return StoredPoint(UUID(image["id"]), PointPayload.model_validate(image["payload"]))

    async def _get(self, path: str, params: Mapping[str, str | int]) -> httpx.Response:
        attempt = 1
        while True:
            try:
                response = await self._client.get(path, params=params)
            except httpx.HTTPError as error:
                raise DependencyUnavailable(
                    "search", f"{self._client.base_url} does not answer ({error!r})", "Look at the search service"
                ) from error
            wait = self._patience.wait(response, attempt)
            if wait is None:
                break
            await asyncio.sleep(wait)
            attempt += 1
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise DependencyUnavailable(
                "search",
                f"{self._client.base_url} answers 429, too many requests, to attempt {attempt} of one question too",
                "Give the pass an API key of its own, or raise SIGHTLINE_ACCESS__REQUESTS_PER_SECOND at the search "
                "service",
            )
        return response


async def reconcile_on_kafka(settings: Settings, source: str, options: PassOptions) -> ExitCode:
    """One pass whose hints go onto Kafka, then comparisons until nothing differs or nothing moves any more."""
    parsed = parse_source(source)
    if isinstance(parsed, FolderSource):
        raise ConfigurationError(
            f"{source} is a folder; embedders on Kafka read buckets. Unset SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS, or use "
            "`sightline index`"
        )
    parts = Parts.make(settings)
    console = Console(stderr=True, highlight=False, markup=False)
    await check_broker(settings.kafka)
    async with AsyncExitStack() as entered:
        await entered.enter_async_context(parts.tracing)
        index, encoder = await entered.enter_async_context(_reader(parts))
        store = await entered.enter_async_context(s3_store(parsed.bucket, settings))
        publisher = await entered.enter_async_context(
            KafkaPublisher(IMAGE_EVENTS, settings=settings.kafka, log=parts.log)
        )

        metrics = ReconcileMetrics(parts.registry)
        status = entered.enter_context(console.status("listing"))

        def show_progress(report: Report) -> None:
            status.update(f"{report.listed} listed, {report.hinted} to look at")

        def reconciler(*, dry_run: bool, retry_rejected: bool, as_of: datetime | None = None) -> Reconciler:
            return Reconciler(
                store,
                index,
                None if dry_run else parts.tracing.beginning(publisher),
                encoder=encoder,
                wants=key_patterns(settings).wants,
                guard=options.guard,
                metrics=None if dry_run else metrics,
                progress=show_progress,
                prefix=parsed.prefix,
                retry_rejected=retry_rejected,
                as_of=as_of,
            )

        report = await reconciler(dry_run=options.dry_run, retry_rejected=options.retry_rejected).run()
        if options.dry_run:
            show_report(report, options, dry_run=True)
            return ExitCode.CLEAN
        console.print(f"{report.hinted} objects to look at were sent")
        await tell_metrics(options, parts.registry, parts.log, bucket=report.bucket, prefix=parsed.prefix)
        # What the guard refused can never settle.
        again = await until_settled(
            lambda: reconciler(dry_run=True, retry_rejected=False, as_of=report.began).run(),
            console,
            expected=report.orphaned if report.refused else 0,
        )
        show_report(report, options, dry_run=False, again=again)
        return ExitCode.FAILED if again.drift or report.refused else ExitCode.CLEAN


async def until_settled(
    compare: Callable[[], Awaitable[Report]],
    console: Console,
    *,
    expected: int,
    patience: float = PATIENCE_SECONDS,
    deadline: float = SETTLE_SECONDS,
    pause: float = 1.0,
) -> Report:
    """Compare until no more than `expected` objects differ, and answer the last comparison.

    Ends also when the drift has not been less than ever before for `patience` seconds, and after `deadline` seconds.
    The first pause lasts `pause` seconds, and later ones up to 30, or as long as a comparison.
    """
    began = moved = time.monotonic()
    least: int | None = None
    while True:
        report = await compare()
        now = time.monotonic()
        if report.drift <= expected:
            return report
        if least is None or report.drift < least:
            least, moved = report.drift, now
            console.print(f"{least} objects still differ")
        # A listing of a large bucket takes minutes, and costs: it goes on for no more than half of the time.
        wait = max(pause, report.seconds)
        if now - moved > patience or now + wait - began > deadline:
            return report
        await asyncio.sleep(wait)
        pause = min(30.0, 1.5 * pause)


@asynccontextmanager
async def _reader(parts: Parts) -> AsyncIterator[tuple[IndexReader, EncoderIdentity]]:
    """The index to compare with: a Qdrant server, or what a search service on this data folder serves."""
    settings = parts.settings
    if settings.qdrant.url:
        async with make_index(parts) as index:
            stored = await index.metadata()
            if stored is None:
                raise ConfigurationError(
                    f"{settings.qdrant.url} has no collection for {settings.encoder.model} yet; start embedder and "
                    "indexer first, or name the model with --model"
                )
            yield index, stored.encoder
        return
    running = find_running(settings.data_dir)
    if running is None:
        raise ConfigurationError(
            "no Qdrant server is set (SIGHTLINE_QDRANT__URL) and no search service runs on "
            f"{settings.data_dir}; start `sightline run indexer search` with the same --data-dir first"
        )
    headers = key_headers(settings)
    async with httpx.AsyncClient(base_url=running.url, timeout=60.0, trust_env=False, headers=headers) as client:
        served = ServedIndex(client)
        yield served, await served.encoder()
