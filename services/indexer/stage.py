"""The indexer: judgements to points, written only where the stored version is not higher."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from uuid import UUID

from runtime.in_hand import Phase, in_hand
from runtime.stage import Done, Item, Outcome, Reject
from schemas.collection import CollectionMetadata
from schemas.errors import DependencyUnavailable
from schemas.events import EncoderIdentity, Judgement
from services.indexer.metrics import IndexerMetrics
from services.indexer.points import point_of
from stores.vectors import Fate, Point, VectorIndex


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
        self._uncounted: set[tuple[UUID, int]] = set()
        """Ids and versions of points whose write failed, in batches that are tried again."""

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
        offered: list[tuple[Point, datetime | None]] = []
        for item in items:
            point = point_of(item.event, encoder, indexed_at=now)
            if isinstance(point, Reject):
                outcomes[item.id] = point
            else:
                outcomes[item.id] = Done()
                offered.append((point, item.event.event_time))
        if offered:
            await self._write(offered)
        return outcomes

    async def _write(self, offered: Sequence[tuple[Point, datetime | None]]) -> None:
        looks = [(point.id, point.payload.version) for point, _ in offered]
        try:
            with in_hand().spending(Phase.UPSERT):
                fates = await self._index.write([point for point, _ in offered])
        except DependencyUnavailable:
            # Some may be applied all the same, and nobody has counted them yet: they will be found there already.
            self._uncounted.update(looks)
            raise
        now = time.time()
        for (point, event_time), look, fate in zip(offered, looks, fates, strict=True):
            new = fate is Fate.CHANGED or (fate is Fate.AGAIN and look in self._uncounted)
            status = point.payload.status.value
            self._metrics.written.labels(status).inc()
            if fate is Fate.STALE:
                self._metrics.stale.labels(status).inc()
            elif new and event_time is not None:
                self._metrics.searchable(max(0.0, now - event_time.timestamp()))
        self._uncounted.difference_update(looks)

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
