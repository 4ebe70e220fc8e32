"""What the commands find around them: a model and servers, each of which a test may take away."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest
from qdrant_client import AsyncQdrantClient

from cli.canary import VectorsMoved
from cli.parts import Parts
from cli.transports import InProcessTransport
from runtime.batch import Publisher
from runtime.http import HttpServer
from runtime.retry import RetryPolicy
from runtime.settings import Settings, load_settings
from runtime.start import Start
from schemas.collection import Canary, CollectionMetadata
from schemas.topics import TopicSpec
from stores.qdrant_server import QdrantIndex
from tests.unit.cli.stand_ins import PATIENCE, StandIn


class Machine:
    """A model, a Qdrant server in memory, a store with every bucket, no Kafka but what stands in for it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.client = AsyncQdrantClient(":memory:")
        self.encoder = StandIn()
        self.servers: list[HttpServer] = []
        self.folder = folder
        self.away: dict[str, Exception] = {}
        """What "kafka", "producer", "qdrant", "collection", "s3" and "model" raise when they are opened or read."""
        self.asked: Counter[str] = Counter()
        """How often each was, or would have been."""
        load = StandIn.load

        def opened(encoder: StandIn) -> None:
            self.open("model")
            load(encoder)

        patch.setattr(StandIn, "load", opened)
        patch.setattr("cli.models.make_encoder", lambda *_, **__: self.encoder)
        patch.setattr("stores.qdrant_server.QdrantIndex", lambda collection, **_: Index(self, collection))
        patch.setattr("cli.sources.s3_store", lambda bucket, _: Bucket(self, bucket))
        patch.setattr("cli.distributed.check_broker", self._broker)
        patch.setattr("cli.distributed.ensure_topics", self._nothing)
        patch.setattr("cli.distributed.KafkaTransport", lambda parts, entered, later: Transport(parts, self))
        patch.setattr("cli.distributed.Start", partial(Start, policy=RetryPolicy(first=0.01, most=0.01)))
        for command in ("cli.up", "cli.distributed"):
            patch.setattr(f"{command}.HttpServer", self._server)

    def open(self, what: str) -> None:
        """Raise what the test has it raise."""
        self.asked[what] += 1
        if what in self.away:
            raise self.away[what]

    async def _broker(self, *_: object) -> None:
        self.open("kafka")

    async def _nothing(self, *_: object) -> None:
        """What a broker would be asked once it is there."""

    def _server(self, *arguments: Any, **options: Any) -> HttpServer:
        self.servers.append(HttpServer(*arguments, **options))
        return self.servers[-1]

    def settings(self, *, qdrant: bool = True, **more: str) -> Settings:
        environment = {
            "SIGHTLINE_ENCODER__MODEL": "hashing",
            "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
            "SIGHTLINE_TAGS__ENABLED": "false",
            **more,
        }
        if qdrant:
            environment["SIGHTLINE_QDRANT__URL"] = "http://qdrant:6333"
        return load_settings(environment, data_dir=self.folder / "data", port=0)

    async def readiness(self) -> tuple[int, list[str]]:
        """The status of /readyz, and why it is not 200."""
        async with httpx.AsyncClient(base_url=self.servers[-1].address, trust_env=False) as client:
            answer = await client.get("/readyz")
        return answer.status_code, answer.json()["problems"]

    async def probes(self) -> dict[str, int]:
        """The statuses of the other probes."""
        async with httpx.AsyncClient(base_url=self.servers[-1].address, trust_env=False) as client:
            return {name: (await client.get(f"/{name}")).status_code for name in ("startupz", "livez")}

    async def canary(self) -> Canary | None:
        async with QdrantIndex("images__hashing", client=self.client) as index:
            stored = await index.metadata()
            return stored.canary if stored else None


class Index(QdrantIndex):
    """The index of a machine whose server may be away."""

    def __init__(self, machine: Machine, collection: str) -> None:
        super().__init__(collection, client=machine.client)
        self._machine = machine

    async def __aenter__(self) -> Self:
        self._machine.open("qdrant")
        return await super().__aenter__()

    async def metadata(self) -> CollectionMetadata | None:
        self._machine.open("collection")
        return await super().metadata()


class Transport(InProcessTransport):
    """The transport of a machine whose broker may go away after it was found."""

    def __init__(self, parts: Parts, machine: Machine) -> None:
        super().__init__(parts)
        self._machine = machine

    async def publisher(self, topic: TopicSpec) -> Publisher:
        self._machine.open("producer")
        return await super().publisher(topic)


class Bucket:
    """A bucket of a machine whose store may be away."""

    def __init__(self, machine: Machine, bucket: str) -> None:
        self._machine = machine
        self.bucket = bucket

    async def __aenter__(self) -> Self:
        self._machine.open("s3")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""


@asynccontextmanager
async def running(work: Coroutine[Any, Any, object]) -> AsyncIterator["asyncio.Task[object]"]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, VectorsMoved):
            await task


async def until(task: "asyncio.Task[object]", true: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    for _ in range(int(PATIENCE / 0.01)):
        if task.done():
            task.result()
        if await true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")


async def serves(machine: Machine) -> bool:
    if not machine.servers:
        return False
    with suppress(httpx.TransportError, RuntimeError):
        return bool(await machine.readiness())
    return False


async def is_ready(machine: Machine) -> bool:
    return await serves(machine) and (await machine.readiness())[0] == 200
