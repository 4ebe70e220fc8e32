"""One trace leads from a notification to the point, on both transports, as a real collector receives it."""

import asyncio
import io
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image
from prometheus_client import CollectorRegistry
from qdrant_client import AsyncQdrantClient

from encoders.engine import EncoderEngine
from encoders.hashing import HashingEncoder
from runtime.batch import Publisher
from runtime.dead_letters import BudgetPolicy, DeadLetterBudget
from runtime.in_process import InProcessConsumer, InProcessTopic
from runtime.kafka import KafkaConsumer, KafkaPublisher, ensure_topics
from runtime.log import Log
from runtime.metrics import MetricSet
from runtime.observation_settings import TracingSettings
from runtime.otel import OpenTelemetry
from runtime.retry import Retry, RetryPolicy
from runtime.settings import LimitSettings
from runtime.stage import Stage
from runtime.tracing import Tracing, Untraced
from runtime.worker import Decode, Worker
from schemas.codec import Message, decode_image_event, decode_judgement
from schemas.headers import TRACEPARENT, header, trace_id
from schemas.topics import IMAGE_EMBEDDINGS, IMAGE_EVENTS, NOTIFICATIONS, TopicSpec
from services.embedder.metrics import EmbedderMetrics
from services.embedder.stage import EmbedderStage
from services.indexer.metrics import IndexerMetrics
from services.indexer.stage import IndexerStage
from services.ingest.metrics import IngestMetrics
from services.ingest.stage import NotificationStage, decode_notification
from stores.qdrant_server import QdrantIndex
from stores.vectors import Where
from tests.collector import Collector, KeptSpan, collector
from tests.integration.kafka.rig import Rig, until
from tests.unit.embedder.test_stage import FakeStore
from tests.unit.runtime.stages import Recorder

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
]
LOG = Log("test.traces")


@dataclass
class Topics:
    """A transport: publishers, and consumers that run until the test ends."""

    publisher: Callable[[TopicSpec], Publisher]
    consume: Callable[[TopicSpec, Worker[Any]], None]


@pytest.fixture(params=["in_process", pytest.param("kafka", marks=pytest.mark.kafka)])
async def topics(request: pytest.FixtureRequest) -> AsyncIterator[Topics]:
    stop = asyncio.Event()
    running: list[asyncio.Task[None]] = []
    specs = (NOTIFICATIONS, IMAGE_EVENTS, IMAGE_EMBEDDINGS)
    async with AsyncExitStack() as entered:
        if request.param == "in_process":
            queues = {spec.name: InProcessTopic(spec.name, lanes=2, capacity=100) for spec in specs}

            def publisher(spec: TopicSpec) -> Publisher:
                return queues[spec.name].publisher()

            def consume(spec: TopicSpec, worker: Worker[Any]) -> None:
                consumer = InProcessConsumer(queues[spec.name], worker)
                running.append(asyncio.create_task(consumer.run(stop)))

        else:
            rig = await entered.enter_async_context(Rig.make(request.getfixturevalue("kafka")))
            await ensure_topics(rig.settings, specs)
            publishers = {
                spec.name: await entered.enter_async_context(KafkaPublisher(spec, rig.settings, log=LOG))
                for spec in specs
            }

            def publisher(spec: TopicSpec) -> Publisher:
                return publishers[spec.name]

            def consume(spec: TopicSpec, worker: Worker[Any]) -> None:
                group = worker.stage.name
                consumer = KafkaConsumer(spec, group, worker, settings=rig.settings, metrics=rig.metrics, log=LOG)
                running.append(asyncio.create_task(consumer.run(stop)))

        yield Topics(publisher, consume)
        stop.set()
        await asyncio.gather(*running)


class Pipeline:
    """The three stages on a transport, around a store and an index of the test's."""

    def __init__(self, topics: Topics, tracing: Tracing) -> None:
        self.topics = topics
        self.tracing = tracing
        self.registry = CollectorRegistry()
        self.metrics = MetricSet.make(self.registry)
        self.store = FakeStore()
        self.entered = AsyncExitStack()

    async def __aenter__(self) -> "Pipeline":
        enter = self.entered.enter_async_context
        client = AsyncQdrantClient(":memory:")
        self.entered.push_async_callback(client.close)
        self.index = await enter(QdrantIndex("images__hashing", client=client))
        engine = await enter(EncoderEngine(HashingEncoder()))
        ingest = NotificationStage((), lambda key: True, LimitSettings(), metrics=IngestMetrics(self.registry), log=LOG)
        embedder = EmbedderStage(self.store, engine, metrics=EmbedderMetrics(self.registry))
        indexer = IndexerStage(self.index, model="hashing", metrics=IndexerMetrics(self.registry))
        self.consume(NOTIFICATIONS, ingest, decode_notification, IMAGE_EVENTS)
        self.consume(IMAGE_EVENTS, embedder, lambda one: decode_image_event(one.value, one.headers), IMAGE_EMBEDDINGS)
        self.consume(IMAGE_EMBEDDINGS, await enter(indexer), lambda one: decode_judgement(one.value, one.headers), None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.entered.aclose()

    def consume(self, topic: TopicSpec, stage: Stage[Any], decode: Decode[Any], out: TopicSpec | None) -> None:
        metrics = self.metrics.stage(stage.name)
        worker = Worker(
            stage,
            decode,
            self.topics.publisher(out) if out else None,
            Recorder(),
            metrics=metrics,
            retry=Retry(RetryPolicy(), stage=stage.name, metrics=metrics, log=LOG),
            budget=DeadLetterBudget(BudgetPolicy(), LOG),
            log=LOG,
            tracing=self.tracing,
        )
        self.topics.consume(topic, worker)

    async def upload(self, keys: Sequence[str], headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        for number, key in enumerate(keys):
            self.store.put(key, picture(number))
        messages = [Message(f"b/{key}".encode(), notification(key), headers) for key in keys]
        await self.topics.publisher(NOTIFICATIONS).publish(messages)

        async def indexed() -> bool:
            return await self.index.count(Where()) == len(keys)

        await until(indexed, patience=40)


def traced(kept: Collector) -> OpenTelemetry:
    return OpenTelemetry(TracingSettings(endpoint=kept.endpoint), os.environ, system="test")


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (10 * number, 80, 120)).save(file, "PNG")
    return file.getvalue()


def notification(key: str) -> bytes:
    s3 = {"bucket": {"name": "b"}, "object": {"key": key, "size": 1}}
    record = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}
    return json.dumps({"Records": [record | {"eventTime": "2026-01-02T03:04:05.000Z"}]}).encode()


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["fields"] for record in caplog.records if getattr(record, "action", "") == "batch_done"]


async def test_one_trace_leads_from_the_notification_to_the_point(
    topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="test.traces")
    keys = [f"{number}.png" for number in range(5)]
    with collector() as kept:
        async with traced(kept) as tracing, Pipeline(topics, tracing) as pipeline:
            await pipeline.upload(keys)
            await until(lambda: sum(line["stage"] == "indexer" for line in lines(caplog)) > 0)
            await until(lambda: _done(pipeline, "indexer") == len(keys))
        assert kept.paths == {"/v1/traces"}
        for key in keys:
            _check_path(kept, key)
        _check_batches(kept, lines(caplog))


def _done(pipeline: Pipeline, stage: str) -> float:
    labels = {"stage": stage, "outcome": "done"}
    return pipeline.registry.get_sample_value("sightline_records_finished_total", labels) or 0


def _check_path(kept: Collector, key: str) -> None:
    path = [
        next(s for s in kept.named(f"{stage} process") if s.attributes["messaging.kafka.message.key"] == f"b/{key}")
        for stage in ("ingest", "embedder", "indexer")
    ]
    assert len({span.trace for span in path}) == 1, "one trace"
    assert [span.parent for span in path] == ["", path[0].id, path[1].id], "each stage's span is the child of the last"
    assert all(span.service == "sightline" and not span.failed for span in path)
    assert [span.attributes["sightline.outcome"] for span in path] == ["emit", "emit", "done"]
    steps = {span.name: span for span in kept.spans if span.parent == path[1].id and " " not in span.name}
    assert set(steps) == {"fetch", "decode", "forward"}
    assert steps["fetch"].ended <= steps["decode"].began <= steps["decode"].ended == steps["forward"].began
    assert all(path[1].began <= step.began <= step.ended <= path[1].ended for step in steps.values())


def _check_batches(kept: Collector, told: list[dict[str, Any]]) -> None:
    for stage, before in (("embedder", "ingest"), ("indexer", "embedder")):
        batches, records = kept.named(f"{stage} batch"), kept.named(f"{stage} process")
        causes = {(span.trace, span.id) for span in kept.named(f"{before} process")}
        assert {link for batch in batches for link in batch.links} == causes, "a batch links to all that it was made of"
        assert not {batch.trace for batch in batches} & {span.trace for span in records}, "and belongs to none"
        assert {link for span in records for link in span.links} == {(batch.trace, batch.id) for batch in batches}
        assert {batch.trace for batch in batches} == {line["trace_id"] for line in told if line["stage"] == stage}
    children = {span.name for span in kept.spans if span.parent in {one.id for one in kept.named("indexer batch")}}
    assert {"process", "upsert", "commit"} <= children


async def test_a_notification_that_has_a_trace_is_continued(topics: Topics) -> None:
    theirs = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with collector() as kept:
        async with traced(kept) as tracing, Pipeline(topics, tracing) as pipeline:
            await pipeline.upload(["a.png"], ((TRACEPARENT, theirs),))
            await until(lambda: _done(pipeline, "indexer") == 1)
        spans = [span for span in kept.spans if span.name.endswith(" process")]
        assert {span.trace for span in spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
        assert len(spans) == 3


async def test_untraced_the_trace_id_is_passed_on_all_the_same(
    topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="test.traces")
    async with Pipeline(topics, Untraced()) as pipeline:
        await pipeline.upload(["a.png"])
        await until(lambda: _done(pipeline, "indexer") == 1)
        await until(lambda: len(lines(caplog)) == 3)
    assert len({line["trace_id"] for line in lines(caplog)}) == 1
    assert {line["stage"] for line in lines(caplog)} == {"ingest", "embedder", "indexer"}


async def test_hints_that_nothing_caused_begin_a_trace_of_their_own() -> None:
    recorder = Recorder()
    with collector() as kept:
        async with traced(kept) as tracing:
            await tracing.beginning(recorder).publish(
                [Message(b"b/a", b"", ((TRACEPARENT, b"x"),)), Message(b"b/b", b"")]
            )
        spans: list[KeptSpan] = kept.named("hint")
    sent = [header(message.headers, TRACEPARENT) for message in recorder.messages]
    assert [trace_id(one or b"") for one in sent] == [span.trace for span in spans]
    assert len({span.trace for span in spans}) == 2


async def test_a_collector_that_is_away_costs_no_record_and_little_time() -> None:
    recorder = Recorder()
    tracing = OpenTelemetry(TracingSettings(endpoint="http://127.0.0.1:1"), {}, system="test")
    began = asyncio.get_running_loop().time()
    async with tracing:
        await tracing.beginning(recorder).publish([Message(b"b/a", b"")])
    assert recorder.messages
    assert asyncio.get_running_loop().time() - began < 15


@pytest.mark.parametrize("environment", [{}, {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1000"}])
async def test_a_burst_of_spans_arrives_whole(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with collector() as kept:
        async with traced(kept) as tracing:
            await tracing.beginning(Recorder()).publish([Message(b"b/a", b"")] * 8000)
        assert len(kept.named("hint")) == 8000


async def test_a_queue_of_the_standard_variables_size_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1000")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    with collector() as kept:
        async with traced(kept) as tracing:
            await tracing.beginning(Recorder()).publish([Message(b"b/a", b"")] * 300)
        assert len(kept.named("hint")) == 300, "a start with a queue smaller than our requests, and a flush at the end"


async def test_a_trace_that_is_not_sampled_sends_nothing_and_says_so_downstream() -> None:
    recorder = Recorder()
    with collector() as kept:
        settings = TracingSettings(endpoint=kept.endpoint, sample_ratio=0.0)
        async with OpenTelemetry(settings, {}, system="test") as tracing:
            await tracing.beginning(recorder).publish([Message(b"b/a", b"")])
        assert kept.spans == []
    flags = (header(recorder.messages[0].headers, TRACEPARENT) or b"").split(b"-")[3]
    assert int(flags, 16) & 1 == 0
