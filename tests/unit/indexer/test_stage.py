"""What the indexer tells of what it wrote: from the index, and each change once."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from runtime.observation_settings import FreshnessSettings
from runtime.stage import Item
from schemas.errors import DependencyUnavailable
from schemas.events import ImageEmbedded, Judgement
from services.indexer.metrics import IndexerMetrics
from services.indexer.stage import IndexerStage
from stores.vectors import Fate, Point
from tests.unit.indexer.test_points import ENCODER, embedded
from tests.unit.search.fakes import FakeIndex


class TellingIndex(FakeIndex):
    """Keeps points, and may fail after it has applied some, as a server does whose answer is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.lost_answers = 0

    async def write(self, points: Sequence[Point]) -> Sequence[Fate]:
        fates = []
        for point in points:
            stored = self.points.get(point.id)
            fates.append(self._fate(point, stored))
            if fates[-1] is not Fate.STALE:
                self.points[point.id] = point
        if self.lost_answers:
            self.lost_answers -= 1
            raise DependencyUnavailable("qdrant", "no answer", "wait")
        return fates

    @staticmethod
    def _fate(point: Point, stored: Point | None) -> Fate:
        if stored is None or stored.payload.version < point.payload.version:
            same = stored is not None and stored.payload.etag == point.payload.etag
            return Fate.SAME if same else Fate.CHANGED
        return Fate.AGAIN if stored.payload.version == point.payload.version else Fate.STALE


class Indexer:
    def __init__(self, **objective: float) -> None:
        self.registry = CollectorRegistry()
        self.index = TellingIndex()
        metrics = IndexerMetrics(self.registry, FreshnessSettings(**objective))
        self.stage = IndexerStage(self.index, model=ENCODER.model, metrics=metrics)

    async def take(self, *judgements: Judgement) -> None:
        await self.stage.process([Item(str(number), one) for number, one in enumerate(judgements)])

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"sightline_{name}", labels) or 0.0

    def searchable(self) -> tuple[float, float]:
        """In time, and late."""
        return self.value("searchable_total", kept="in_time"), self.value("searchable_total", kept="late")


def judged(version: int, seconds_ago: float | None = 1.0, *, key: str = "k.jpg", etag: str = "e") -> ImageEmbedded:
    one = embedded([1, 0, 0])
    changes: dict[str, Any] = {"version": version, "key": key, "object": one.object.model_copy(update={"etag": etag})}
    changes["event_time"] = None if seconds_ago is None else datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return one.model_copy(update=changes)


async def test_changes_are_counted_in_time_or_late_one_by_one() -> None:
    indexer = Indexer(objective_seconds=10)
    await indexer.take(*(judged(1, seconds, key=f"{seconds}.jpg") for seconds in (1.0, 9.0, 11.0, None)))
    assert indexer.searchable() == (2, 1)
    assert indexer.value("freshness_seconds_count") == 3, "what is not told is not guessed"
    assert indexer.value("freshness_objective_seconds") == 10
    assert indexer.value("freshness_objective_ratio") == 0.99


async def test_a_point_that_the_index_dropped_is_stale_and_was_searchable_before() -> None:
    indexer = Indexer()
    await indexer.take(judged(5))
    await indexer.take(judged(4, 3600, etag="older"))
    assert indexer.value("points_stale_total", status="indexed") == 1
    assert indexer.value("points_written_total", status="indexed") == 2
    assert indexer.searchable() == (1, 0)


async def test_a_hint_that_comes_twice_is_one_change() -> None:
    indexer = Indexer()
    await indexer.take(judged(5))
    await indexer.take(judged(6, 3600))
    assert indexer.searchable() == (1, 0), "the late copy told what was searchable in time"
    await indexer.take(judged(7, etag="overwritten"))
    assert indexer.searchable() == (2, 0)


async def test_a_record_that_is_delivered_again_is_not_counted_again() -> None:
    indexer = Indexer()
    record = judged(5)
    await indexer.take(record)
    await indexer.take(record)
    assert indexer.searchable() == (1, 0)
    assert indexer.value("points_stale_total", status="indexed") == 0


async def test_a_write_whose_answer_was_lost_is_counted_when_it_is_made_again() -> None:
    indexer = Indexer()
    indexer.index.lost_answers = 2
    record = judged(5)
    for _ in range(2):
        with pytest.raises(DependencyUnavailable):
            await indexer.take(record)
    assert indexer.searchable() == (0, 0)
    await indexer.take(record)
    assert indexer.searchable() == (1, 0), "the outage must not hide its changes"
    await indexer.take(record)
    assert indexer.searchable() == (1, 0)


async def test_what_was_refused_is_neither_written_nor_searchable() -> None:
    indexer = Indexer()
    await indexer.take(judged(5))
    await indexer.take(judged(6).model_copy(update={"encoder": ENCODER.model_copy(update={"fingerprint": "o-p-d"})}))
    assert indexer.value("points_written_total", status="indexed") == 1
    assert isinstance(next(iter(indexer.index.points)), UUID)
