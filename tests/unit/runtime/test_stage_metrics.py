"""What a worker tells of a batch: metrics, and one line in the log."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from prometheus_client import CollectorRegistry

from runtime import log
from runtime.in_hand import Phase, Spent, in_hand
from runtime.in_process import InProcessConsumer, InProcessTopic, QueueMetrics
from runtime.stage import Done, Emit, Item, Outcome, Reject
from schemas.dead_letter import RejectReason
from schemas.events import ImageEvent
from schemas.headers import TRACEPARENT, header, trace_id
from tests.unit.runtime.stages import (
    FakeBatch,
    Recorder,
    ScriptedStage,
    event,
    message,
    received,
    stage_metrics,
    worker_for,
)
from tests.unit.schemas.records import IMAGE_EMBEDDED


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(f"sightline_{name}", labels) or 0.0


@pytest.fixture
def lines() -> Iterator[StringIO]:
    stream = StringIO()
    log.configure("INFO", stream=stream)
    yield stream
    logging.getLogger().handlers.clear()


async def test_a_batch_is_one_line_with_action_counts_durations_and_trace(lines: StringIO) -> None:
    def answer(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        in_hand().spent.append(Spent(Phase.FETCH, 1, 3))
        return {
            items[0].id: Emit((items[0].event, items[0].event)),
            items[1].id: Reject(RejectReason.DECODE_FAILED, "broken"),
            items[2].id: Done(),
        }

    recorder = Recorder()
    batch = FakeBatch([received(key, n) for n, key in enumerate("abc")], recorder)
    await worker_for(ScriptedStage(answer), recorder).handle(batch)
    [line] = [json.loads(text) for text in lines.getvalue().splitlines()]
    assert line["action"] == "batch_done"
    assert (line["stage"], line["records"], line["sent"]) == ("scripted", 3, 2)
    assert line["outcomes"] == {"emit": 1, "reject": 1, "done": 1}
    assert line["rejected"] == {"decode_failed": 1}
    assert set(line["phases"]) == {"process", "fetch", "publish", "dead_letter", "commit"}
    assert line["phases"]["fetch"] == 2
    assert line["seconds"] >= line["phases"]["process"] + line["phases"]["publish"]
    came = header(batch.records[0].headers, TRACEPARENT)
    assert line["trace_id"] == trace_id(came or b"")
    assert line["trace_id"] == trace_id(header(recorder.messages[0].headers, TRACEPARENT) or b"")


async def test_freshness_by_stage_is_from_the_stores_own_time() -> None:
    registry, recorder = CollectorRegistry(), Recorder()
    changed = datetime.now(UTC) - timedelta(seconds=100)

    def answer(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        later = event("b").model_copy(update={"event_time": changed})
        unknown = event("c").model_copy(update={"event_time": None})
        return {items[0].id: Emit((later,)), items[1].id: Emit((unknown,))}

    batch = FakeBatch([received("a", 0), received("b", 1)], recorder)
    await worker_for(ScriptedStage(answer), recorder, metrics=stage_metrics(registry)).handle(batch)
    assert value(registry, "stage_freshness_seconds_count", stage="scripted") == 1, "what is not told is not guessed"
    assert value(registry, "stage_freshness_seconds_sum", stage="scripted") == pytest.approx(100, abs=5)


async def test_images_are_counted_when_their_vectors_were_sent() -> None:
    registry, recorder = CollectorRegistry(), Recorder()

    def answer(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        assert not recorder.messages
        return {items[0].id: Emit((IMAGE_EMBEDDED,)), items[1].id: Done()}

    batch = FakeBatch([received("a", 0), received("b", 1)], recorder)
    await worker_for(ScriptedStage(answer), recorder, metrics=stage_metrics(registry)).handle(batch)
    assert value(registry, "images_embedded_total") == 1


async def test_a_consumers_time_is_waiting_or_a_phase() -> None:
    registry, recorder = CollectorRegistry(), Recorder()
    topic = InProcessTopic("image-events", lanes=1, capacity=10)

    def answer(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        time.sleep(0.05)
        return {item.id: Done() for item in items}

    worker = worker_for(ScriptedStage(answer), recorder, metrics=stage_metrics(registry))
    consumer, stop = InProcessConsumer(topic, worker, batch_records=7), asyncio.Event()
    assert value(registry, "batch_capacity_records", stage="scripted") == 7
    assert consumer.not_ready, "it does not run"
    began = time.perf_counter()
    running = asyncio.create_task(consumer.run(stop))
    for number in range(3):
        await asyncio.sleep(0.05)
        assert consumer.not_ready is None
        await topic.put(message(f"{number}.jpg"))
        await topic.idle()
    stop.set()
    await running
    took = time.perf_counter() - began
    spent = {
        phase: value(registry, "phase_seconds_sum", stage="scripted", phase=phase)
        for phase in ("wait", "process", "publish", "dead_letter", "commit")
    }
    assert spent["wait"] >= 0.14
    assert spent["process"] >= 0.14
    assert 0.5 * took < sum(spent.values()) <= took


async def test_embedded_mode_tells_when_its_queue_is_done() -> None:
    registry = CollectorRegistry()
    topic = InProcessTopic("image-events", lanes=1, capacity=10)
    QueueMetrics(registry).watch_backlog(topic)
    name, labels = "sightline_backlog_clears_seconds", {"embedders": "now"}
    assert str(registry.get_sample_value(name, labels)) == "nan", "no rate yet"
    assert registry.get_sample_value(name, {"embedders": "one_more"}) is None, "one process has one model"


async def test_labels_do_not_grow_with_what_is_indexed() -> None:
    registry, recorder = CollectorRegistry(), Recorder()
    worker = worker_for(ScriptedStage(), recorder, metrics=stage_metrics(registry))

    async def series(first: int) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        await worker.handle(FakeBatch([received(f"secret-{first + n}.jpg", first + n) for n in range(50)], recorder))
        return {
            (sample.name, tuple(sorted(sample.labels.items())))
            for metric in registry.collect()
            for sample in metric.samples
        }

    once = await series(0)
    assert await series(50) == once
    assert "secret" not in str(once)
