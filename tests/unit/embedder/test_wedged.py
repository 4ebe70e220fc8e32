"""A thread that hangs is found, by a real engine and a real worker, although all others go on."""

import asyncio
import io
import threading
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from PIL import Image
from prometheus_client import CollectorRegistry

from encoders.encoder import Prepared, Vectors
from encoders.engine import EncoderEngine
from encoders.hashing import HashingEncoder
from runtime.dead_letters import BudgetPolicy, DeadLetterBudget
from runtime.in_process import InProcessConsumer, InProcessTopic
from runtime.log import Log
from runtime.metrics import MetricSet
from runtime.probe_routes import probe_app
from runtime.probes import Probes
from runtime.retry import Retry, RetryPolicy
from runtime.worker import Worker
from schemas.codec import decode_image_event
from services.embedder.metrics import EmbedderMetrics
from services.embedder.stage import EmbedderStage
from tests.unit.embedder.test_stage import FakeStore
from tests.unit.runtime.stages import Recorder, message

STALL_SECONDS = 1.0
LOG = Log("test")


class Hanging(HashingEncoder):
    """Hangs where a test says, until it is let go: in the preparing of a red image, or in every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.prepares = threading.Event()
        self.forwards = threading.Event()
        self.prepares.set()
        self.forwards.set()

    def prepare(self, image: Image.Image) -> Prepared:
        if image.getpixel((0, 0)) == (255, 0, 0):
            assert self.prepares.wait(30)
        return super().prepare(image)

    def forward(self, batch: Sequence[Prepared]) -> Vectors:
        assert self.forwards.wait(30)
        return super().forward(batch)


class Embedder:
    def __init__(self, encoder: Hanging, engine: EncoderEngine, probes: Probes) -> None:
        self.encoder = encoder
        self.probes = probes
        self.store = FakeStore()
        self.recorder = Recorder()
        self.topic = InProcessTopic("image-events", lanes=2, capacity=100)
        registry = CollectorRegistry()
        metrics = MetricSet.make(registry).stage("embedder")
        probes.stage("embedder", metrics)
        probes.work("the model", engine.work)
        worker = Worker(
            EmbedderStage(self.store, engine, metrics=EmbedderMetrics(registry)),
            lambda record: decode_image_event(record.value, record.headers),
            self.recorder,
            self.recorder,
            metrics=metrics,
            retry=Retry(RetryPolicy(), stage="embedder", metrics=metrics, log=LOG),
            budget=DeadLetterBudget(BudgetPolicy(), LOG),
            log=LOG,
        )
        self.consumer = InProcessConsumer(self.topic, worker, batch_records=1)

    async def put(self, key: str, colour: str) -> None:
        file = io.BytesIO()
        Image.new("RGB", (20, 20), colour).save(file, "PNG")
        self.store.put(key, file.getvalue())
        await self.topic.put(message(key))

    async def livez(self) -> tuple[int, list[str]]:
        app = probe_app(self.probes, CollectorRegistry())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            answer = await client.get("/livez")
        return answer.status_code, answer.json()["problems"]


@asynccontextmanager
async def embedder() -> AsyncIterator[Embedder]:
    stop, encoder = asyncio.Event(), Hanging()
    async with (
        EncoderEngine(encoder, decode_threads=2) as engine,
        Probes(stall_seconds=STALL_SECONDS, beat_seconds=0.02) as probes,
    ):
        made = Embedder(encoder, engine, probes)
        running = asyncio.create_task(made.consumer.run(stop))
        try:
            yield made
        finally:
            encoder.prepares.set()
            encoder.forwards.set()
            stop.set()
            await running


async def until_status(one: Embedder, status: int) -> list[str]:
    async with asyncio.timeout(20):
        while True:
            found, problems = await one.livez()
            if found == status:
                return problems
            await asyncio.sleep(0.02)


async def test_a_wedged_forward_pass_is_not_alive() -> None:
    async with embedder() as one:
        await one.put("a.png", "blue")
        await one.topic.idle()
        assert (await one.livez())[0] == 200
        one.encoder.forwards.clear()
        await one.put("b.png", "green")
        await until_status(one, 503)
        # The batch and the pass are watched each by itself, and may be told of a beat apart.
        await asyncio.sleep(0.1)
        problems = " ".join(await until_status(one, 503))
        assert "the model has had work in flight" in problems
        assert "stage embedder has had work in flight" in problems
        one.encoder.forwards.set()
        await one.topic.idle()
        await until_status(one, 200)


async def test_one_wedged_decoder_is_not_alive_although_the_other_consumer_goes_on() -> None:
    async with embedder() as one:
        one.encoder.prepares.clear()
        await one.put("stuck.png", "red")
        goes_on = next(f"{n}.png" for n in range(100) if lane_of(one, f"{n}.png") != lane_of(one, "stuck.png"))

        async def others() -> None:
            number = 0
            while True:
                await one.put(goes_on, f"#0000{number % 256:02x}")
                number += 1
                await asyncio.sleep(0.05)

        going_on = asyncio.create_task(others())
        problems = await until_status(one, 503)
        assert [problem for problem in problems if problem.startswith("the model has had")]
        sent = len(one.recorder.messages)
        assert sent > 5, "the others were embedded meanwhile"
        going_on.cancel()


def lane_of(one: Embedder, key: str) -> int:
    return zlib.crc32(message(key).key or b"") % len(one.topic.lanes)


async def test_a_model_that_is_merely_slow_is_alive() -> None:
    async with embedder() as one:
        for number in range(3):
            one.encoder.forwards.clear()
            await one.put(f"{number}.png", f"#0000{number:02x}")
            await asyncio.sleep(0.6 * STALL_SECONDS)
            assert (await one.livez())[0] == 200
            one.encoder.forwards.set()
            await one.topic.idle()
