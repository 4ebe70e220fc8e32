"""The indexer: judgements to points, written only where the stored version is not higher."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from runtime.stage import Done, Item, Outcome, Reject
from schemas.collection import CollectionMetadata
from schemas.events import EncoderIdentity, Judgement
from services.indexer.metrics import IndexerMetrics
from services.indexer.points import point_of
from stores.vectors import Point, VectorIndex


class IndexerStage:
    """`ImageEmbedded`, `ImageGone` and `ImageRejected` to points.

    The index is entered by whoever owns it, since search shares it. Where the collection does not
    exist yet, the first record made by `model` makes it: the indexer itself loads no model.
    """

    name = "indexer"

    def __init__(self, index: VectorIndex, *, model: str, metrics: IndexerMetrics) -> None:
        self._index = index
        self._model = model
        self._metrics = metrics
        self._encoder: EncoderIdentity | None = None

    async def __aenter__(self) -> Self:
        """Learn which encoder the collection belongs to, where it exists."""
        stored = await self._index.metadata()
        self._encoder = stored.encoder if stored else None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to release: the index is left by its owner."""

    async def process(self, items: Sequence[Item[Judgement]]) -> Mapping[str, Outcome]:
        """Write the batch in one call. Raises `DependencyUnavailable` when the index is away."""
        now = datetime.now(UTC)
        encoder = await self._collection_encoder(items, now)
        outcomes: dict[str, Outcome] = {}
        points: list[Point] = []
        for item in items:
            point = point_of(item.event, encoder, indexed_at=now)
            if isinstance(point, Reject):
                outcomes[item.id] = point
            else:
                outcomes[item.id] = Done()
                points.append(point)
        if points:
            await self._index.write(points)
        self._measure(items, points)
        return outcomes

    async def _collection_encoder(self, items: Sequence[Item[Judgement]], now: datetime) -> EncoderIdentity:
        if self._encoder is None:
            stored = await self._index.metadata()
            if stored is None:
                # A record of another model must not claim the collection that is named after ours.
                ours = [item.event.encoder for item in items if item.event.encoder.model == self._model]
                if not ours:
                    return EncoderIdentity(model=self._model, fingerprint="not-yet-known", dimension=1)
                stored = await self._index.ensure(CollectionMetadata(encoder=ours[0], created_at=now))
            self._encoder = stored.encoder
        return self._encoder

    def _measure(self, items: Sequence[Item[Judgement]], points: Sequence[Point]) -> None:
        for point in points:
            self._metrics.written.labels(point.payload.status.value).inc()
        now = time.time()
        for item in items:
            if item.event.event_time is not None:
                self._metrics.freshness.observe(max(0.0, now - item.event.event_time.timestamp()))
