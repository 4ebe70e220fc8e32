"""A consumer whose objects wait for their turn, behind those of others, is alive as long as anything is finished."""

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from encoders.engine import EncodedImage
from runtime.in_hand import taken_in_hand
from runtime.metrics import MetricSet
from runtime.probes import Probes
from services.embedder.stage import EmbedderStage
from stores.objects import Flowed, Look, Missing
from tests.unit.embedder.test_stage import FakeEngine, FakeStore, hint, stage_on
from tests.unit.runtime.test_probes import Clock, later


class Slow(FakeEngine):
    """Makes one pass each time that a test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = asyncio.Semaphore(0)

    async def embed_image(self, data: bytes, *, key: str | None = None) -> EncodedImage:
        await self.turns.acquire()
        return await super().embed_image(data, key=key)


async def until(true: Callable[[], bool]) -> None:
    for _ in range(20_000):
        if true():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come true within 20 s")


async def test_a_consumer_that_waits_for_places_is_alive_while_looks_are_finished_and_not_when_none_is() -> None:
    store, engine, clock = FakeStore(), Slow(), Clock()
    keys = [f"{n}.png" for n in range(8)]
    for key in keys:
        store.put(key, key.encode())
    stage = stage_on(store, engine, in_hand=1)
    metrics = MetricSet.make(CollectorRegistry()).stage("embedder")
    probes = Probes(stall_seconds=60, heartbeat_seconds=10_000, clock=clock)
    probes.stage("embedder", metrics)

    async def consumer(stage: EmbedderStage, *keys: str) -> None:
        with taken_in_hand(metrics.received([])) as batch:
            await stage.process([hint(key) for key in keys])
        metrics.left(batch)

    first = asyncio.create_task(consumer(stage, *keys[:-1]))
    await until(lambda: store.count == 1)
    last = asyncio.create_task(consumer(stage, keys[-1]))
    await until(lambda: metrics.in_flight == 2)
    probes.beat()
    for finished in range(1, 5):
        later(probes, clock, 50)
        assert probes.liveness().ok, "the model is slow, and works"
        engine.turns.release()
        await until(lambda finished=finished: store.count == finished + 1)  # type: ignore[misc]
        probes.beat()
    later(probes, clock, 61)
    assert not probes.liveness().ok, "nothing is finished any more"
    for _ in keys:
        engine.turns.release()
    await asyncio.gather(first, last)


class Dripping(FakeStore):
    """Hands out one byte each time that a test lets it, and ends when the test has let it end."""

    def __init__(self) -> None:
        super().__init__()
        self.drops = asyncio.Semaphore(0)
        self.came = 0
        self.whole = asyncio.Event()

    async def look(self, key: str, *, flowed: Flowed = lambda count: None) -> Look:
        self.count += 1
        while not self.whole.is_set():
            await self.drops.acquire()
            flowed(1)
            self.came += 1
        return Missing(self.date)


async def test_an_object_that_comes_slowly_is_no_stall_for_its_consumer_nor_for_who_waits_behind_it() -> None:
    store, clock = Dripping(), Clock()
    stage = stage_on(store, in_hand=1)
    metrics = MetricSet.make(CollectorRegistry()).stage("embedder")
    probes = Probes(stall_seconds=60, heartbeat_seconds=10_000, clock=clock)
    probes.stage("embedder", metrics)

    async def consumer(key: str) -> None:
        with taken_in_hand(metrics.received([])) as batch:
            await stage.process([hint(key)])
        metrics.left(batch)

    consumers = [asyncio.create_task(consumer("large.jpg")), asyncio.create_task(consumer("behind.jpg"))]
    await until(lambda: store.count == 1 and metrics.in_flight == 2)
    probes.beat()
    for drop in range(1, 5):
        later(probes, clock, 50)
        assert probes.liveness().ok, "bytes come"
        store.drops.release()
        await until(lambda drop=drop: store.came == drop)  # type: ignore[misc]
        probes.beat()
    later(probes, clock, 61)
    assert not probes.liveness().ok, "nothing comes any more"
    store.whole.set()
    store.drops.release()
    await asyncio.gather(*consumers)
