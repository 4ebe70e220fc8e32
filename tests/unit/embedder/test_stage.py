import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from encoders.engine import EncodedImage, EncoderEngine
from imaging.decode import BadImage
from runtime.stage import Done, Emit, Item, Outcome, Reject
from schemas.dead_letter import RejectReason
from schemas.errors import DependencyUnavailable
from schemas.events import (
    EncoderIdentity,
    EventOrigin,
    ImageEmbedded,
    ImageEvent,
    ImageFacts,
    ImageGone,
    ImageRejected,
    ObjectFacts,
)
from services.embedder.metrics import EmbedderMetrics
from services.embedder.stage import EmbedderStage
from stores.objects import Flowed, Found, ListedObject, Look, Missing, ObjectStore, Oversized

NOW = datetime(2026, 1, 2, tzinfo=UTC)
IDENTITY = EncoderIdentity(model="fake", fingerprint="w-p-fp32", dimension=4)


def facts(data: bytes) -> ObjectFacts:
    return ObjectFacts(etag=hashlib.md5(data).hexdigest(), size=len(data), modified_at=NOW)


@dataclass
class FakeStore:
    source: str = "s3"
    bucket: str = "b"
    looks: dict[str, Callable[[], Look]] = field(default_factory=dict)
    date: int = 1_000
    count: int = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def look(self, key: str, *, flowed: Flowed = lambda count: None) -> Look:
        self.count += 1
        return self.looks[key]() if key in self.looks else Missing(self.date)

    async def list(self, prefix: str = "") -> AsyncIterator[ListedObject]:
        no_objects: list[ListedObject] = []
        for entry in no_objects:
            yield entry

    def put(self, key: str, data: bytes, *, settled: bool = True) -> None:
        self.looks[key] = lambda: Found(facts(data), self.date, data, settled)

    async def store(self, source: str, bucket: str) -> ObjectStore | None:
        return self if (source, bucket) == (self.source, self.bucket) else None


class FakeEncoder:
    identity = IDENTITY


@dataclass
class FakeEngine:
    """Vectors that are a function of the bytes; `b"bad..."` is no image."""

    encoder: FakeEncoder = field(default_factory=FakeEncoder)
    forwards: int = 0
    busy: int = 0
    most_busy: int = 0
    reads_names: bool = False
    opened: asyncio.Event | None = None
    """Where given, passes wait for it."""

    def passes(self) -> int:
        return self.forwards

    async def embed_image(self, data: bytes, *, key: str | None = None) -> EncodedImage:
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        await (self.opened.wait() if self.opened else asyncio.sleep(0))
        self.busy -= 1
        if data.startswith(b"bad"):
            raise BadImage(RejectReason.DECODE_FAILED, "broken")
        if data.startswith(b"bug"):
            raise ZeroDivisionError
        self.forwards += 1
        named = data + (key or "").encode() if self.reads_names else data
        return EncodedImage(ImageFacts(width=1, height=1, format="png"), vector_of(named))


def vector_of(data: bytes) -> Any:
    seed = int.from_bytes(hashlib.sha256(data).digest()[:4], "big")
    vector = np.random.default_rng(seed).normal(size=4).astype(np.float32)
    return vector / np.linalg.norm(vector)


def stage_on(
    store: FakeStore, engine: FakeEngine | None = None, registry: CollectorRegistry | None = None, **options: Any
) -> EmbedderStage:
    metrics = EmbedderMetrics(registry or CollectorRegistry())
    return EmbedderStage(store, cast("EncoderEngine", engine or FakeEngine()), metrics=metrics, **options)


def vector_in(outcome: Outcome) -> bytes:
    assert isinstance(outcome, Emit)
    (event,) = outcome.events
    assert isinstance(event, ImageEmbedded)
    return event.vector


numbers = itertools.count()


def hint(key: str, *, after: int = 0, bucket: str = "b") -> Item[ImageEvent]:
    event = ImageEvent(
        source="s3", bucket=bucket, key=key, after=after, origin=EventOrigin.MINIO, received_at=NOW, event_time=NOW
    )
    return Item(str(next(numbers)), event)


async def judge(stage: EmbedderStage, *items: Item[ImageEvent]) -> list[Outcome]:
    outcomes = await stage.process(items)
    assert set(outcomes) == {item.id for item in items}
    return [outcomes[item.id] for item in items]


async def test_each_image_gets_the_vector_of_its_own_bytes() -> None:
    store = FakeStore()
    for n in range(50):
        store.put(f"{n}.png", b"image %d" % n)
    items = [hint(f"{n}.png") for n in range(50)]
    for n, outcome in enumerate(await judge(stage_on(store), *items)):
        assert isinstance(outcome, Emit)
        (judged,) = outcome.events
        assert isinstance(judged, ImageEmbedded)
        assert judged.key == f"{n}.png"
        assert np.allclose(np.frombuffer(judged.vector, "<f4"), vector_of(b"image %d" % n))


async def test_many_hints_for_one_object_are_one_look() -> None:
    store, engine = FakeStore(), FakeEngine()
    store.put("a.png", b"a")
    outcomes = await judge(stage_on(store, engine), hint("a.png", after=7_000), hint("a.png"), hint("a.png"))
    assert store.count == engine.forwards == 1
    assert [type(outcome) for outcome in outcomes] == [Done, Done, Emit]
    last = outcomes[-1]
    assert isinstance(last, Emit)
    assert isinstance(last.events[0], ImageEmbedded)
    assert last.events[0].version == 7_001, "the look is later than the version that any of the hints knew"


async def test_the_version_is_the_date_of_the_look_unless_the_stored_one_is_later() -> None:
    store = FakeStore(date=5_000)
    early, late = await judge(stage_on(store), hint("x", after=10), hint("y", after=9_000))
    assert isinstance(early, Emit)
    assert isinstance(late, Emit)
    assert isinstance(early.events[0], ImageGone)
    assert isinstance(late.events[0], ImageGone)
    assert (early.events[0].version, late.events[0].version) == (5_000, 9_001)


async def test_a_broken_image_is_rejected_alone_with_an_event_that_takes_it_out_of_the_results() -> None:
    store = FakeStore()
    store.put("good.png", b"good")
    store.put("broken.png", b"bad bytes")
    good, broken = await judge(stage_on(store), hint("good.png"), hint("broken.png"))
    assert isinstance(good, Emit)
    assert isinstance(broken, Reject)
    (event,) = broken.events
    assert isinstance(event, ImageRejected)
    assert (event.key, event.object.etag, event.reason) == (
        "broken.png",
        facts(b"bad bytes").etag,
        RejectReason.DECODE_FAILED,
    )
    assert "b/broken.png" in broken.detail


async def test_a_file_that_may_still_be_written_gets_no_verdict() -> None:
    store = FakeStore()
    store.put("half.png", b"bad half", settled=False)
    store.put("young.png", b"whole", settled=False)
    half, young = await judge(stage_on(store), hint("half.png"), hint("young.png"))
    assert isinstance(half, Done)
    assert isinstance(young, Emit)


async def test_an_object_that_is_too_large_is_rejected_unread() -> None:
    store = FakeStore()
    store.looks["huge.tif"] = lambda: Oversized(
        ObjectFacts(etag="e", size=10**12, modified_at=NOW), store.date, limit=1000
    )
    (outcome,) = await judge(stage_on(store), hint("huge.tif"))
    assert isinstance(outcome, Reject)
    assert outcome.reason is RejectReason.TOO_LARGE
    assert "SIGHTLINE_LIMITS__OBJECT_BYTES" in outcome.detail


async def test_another_bucket_is_not_read() -> None:
    (outcome,) = await judge(stage_on(FakeStore()), hint("a.png", bucket="other"))
    assert isinstance(outcome, Reject)
    assert outcome.reason is RejectReason.BUCKET_NOT_ALLOWED


async def test_a_store_that_is_away_fails_the_whole_batch_and_writes_nothing() -> None:
    def away() -> Look:
        raise DependencyUnavailable("s3", "timeout", "wait")

    store = FakeStore()
    store.put("a.png", b"a")
    store.looks["b.png"] = away
    with pytest.raises(DependencyUnavailable):
        await judge(stage_on(store), hint("a.png"), hint("b.png"))


async def test_a_bug_outranks_an_outage() -> None:
    def away() -> Look:
        raise DependencyUnavailable("s3", "timeout", "wait")

    store = FakeStore()
    store.looks["a.png"] = away
    store.put("b.png", b"bug")
    with pytest.raises(ZeroDivisionError):
        await judge(stage_on(store), hint("a.png"), hint("b.png"))


async def test_the_same_bytes_are_embedded_once() -> None:
    store, engine = FakeStore(), FakeEngine()
    store.put("a.png", b"same")
    store.put("b.png", b"same")
    stage = stage_on(store, engine)
    await judge(stage, hint("a.png"))
    (outcome,) = await judge(stage, hint("b.png"))
    assert engine.forwards == 1
    assert isinstance(outcome, Emit)
    assert isinstance(outcome.events[0], ImageEmbedded)
    assert outcome.events[0].key == "b.png"


async def test_a_hundred_copies_that_come_at_once_are_embedded_once_and_the_passes_saved_are_counted() -> None:
    opened, registry = asyncio.Event(), CollectorRegistry()
    store, engine = FakeStore(), FakeEngine(opened=opened)
    for n in range(100):
        store.put(f"{n}.png", b"same")

    def last_look() -> Look:
        opened.set()
        return Found(facts(b"same"), store.date, b"same")

    store.looks["99.png"] = last_look
    stage = stage_on(store, engine, registry, in_hand=200)
    outcomes = await judge(stage, *(hint(f"{n}.png") for n in range(100)))
    assert engine.forwards == 1
    assert {vector_in(outcome) for outcome in outcomes} == {vector_of(b"same").tobytes()}
    assert registry.get_sample_value("sightline_vectors_reused_total") == 99


async def test_a_hundred_copies_of_a_broken_image_are_rejected_each_under_its_own_name() -> None:
    store = FakeStore()
    for n in range(100):
        store.put(f"{n}.png", b"bad", settled=n != 7)
    outcomes = await judge(stage_on(store), *(hint(f"{n}.png") for n in range(100)))
    assert isinstance(outcomes.pop(7), Done)
    rejected = [outcome for outcome in outcomes if isinstance(outcome, Reject)]
    assert len(rejected) == 99
    assert rejected[98].detail == "b/99.png: broken"


async def test_where_names_make_the_vector_the_same_bytes_under_another_name_are_another_image() -> None:
    store, engine = FakeStore(), FakeEngine(reads_names=True)
    store.put("a.png", b"same")
    store.put("b.png", b"same")
    stage = stage_on(store, engine)
    first, second, again = [await judge(stage, hint(key)) for key in ("a.png", "b.png", "a.png")]
    assert vector_in(*first) == vector_in(*again) == vector_of(b"samea.png").tobytes()
    assert vector_in(*second) == vector_of(b"sameb.png").tobytes()
    assert engine.forwards == 2


async def test_a_cache_of_no_entries_keeps_nothing() -> None:
    store, engine = FakeStore(), FakeEngine()
    store.put("a.png", b"same")
    stage = stage_on(store, engine, cache_entries=0)
    await judge(stage, hint("a.png"))
    await judge(stage, hint("a.png"))
    assert engine.forwards == 2


async def test_no_more_objects_than_allowed_are_in_memory_at_once() -> None:
    store, engine = FakeStore(), FakeEngine()
    for n in range(40):
        store.put(f"{n}.png", b"%d" % n)
    await judge(stage_on(store, engine, in_hand=3), *(hint(f"{n}.png") for n in range(40)))
    assert engine.most_busy == 3
