"""Ready means that the model has made vectors, and that they are the collection's: /readyz of each command."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.canary import VectorsMoved
from cli.distributed import run_services
from cli.parts import Parts
from cli.transports import KafkaTransport
from cli.up import up
from encoders.canary import GOLDEN
from runtime.kafka.admin import BrokerAway
from runtime.settings import Settings
from schemas.codec import Message
from schemas.errors import DependencyUnavailable
from schemas.topics import IMAGE_EVENTS
from tests.unit.cli.machine import Machine, is_ready, running, serves, until
from tests.unit.cli.stand_ins import PATIENCE, StandIn

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

Command = Callable[[Settings], Coroutine[Any, Any, object]]


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    (tmp_path / "photos").mkdir()
    made = Machine(tmp_path, monkeypatch)
    yield made
    await made.client.close()


@pytest.mark.parametrize("command", ["up", "run embedder", "run search", "run ingest embedder indexer search"])
async def test_ready_is_after_the_forward_pass_and_the_canary(machine: Machine, command: str) -> None:
    if command == "run search":
        async with running(run_services(machine.settings(), ["embedder"])) as embedder:
            await until(embedder, lambda: is_kept(machine))
        machine.servers.clear()
        machine.encoder = StandIn()
    machine.encoder.loads.clear()
    machine.encoder.reads.clear()
    work = (
        up(machine.settings(), str(machine.folder / "photos"))
        if command == "up"
        else run_services(machine.settings(), command.split()[1:])
    )
    async with running(work) as task:
        await until(task, lambda: serves(machine))
        status, problems = await machine.readiness()
        assert status == 503
        assert problems, "it says what it waits for"
        assert await machine.probes() == {"startupz": 503, "livez": 200}, "loading is alive, and not started"

        machine.encoder.loads.set()
        await until(task, lambda: started_to_read(machine))
        assert (await machine.readiness())[0] == 503, "it has made a forward pass, and the canary is under way"

        machine.encoder.reads.set()
        await until(task, lambda: is_ready(machine))
        assert await machine.probes() == {"startupz": 200, "livez": 200}
        canary = await machine.canary()
        assert canary is not None
        assert list(canary.vectors) == list(GOLDEN)


@pytest.mark.parametrize("command", ["up", "run embedder", "run ingest embedder indexer search"])
async def test_a_writer_whose_vectors_moved_never_gets_ready(machine: Machine, command: str) -> None:
    async with running(run_services(machine.settings(), ["embedder"])) as embedder:
        await until(embedder, lambda: is_kept(machine))
    machine.encoder = StandIn(0.99)
    work = (
        up(machine.settings(), str(machine.folder / "photos"))
        if command == "up"
        else run_services(machine.settings(), command.split()[1:])
    )
    with pytest.raises(VectorsMoved, match=r"images__hashing of the Qdrant server at http://qdrant:6333.*0\.99"):
        await asyncio.wait_for(work, PATIENCE)


async def test_a_search_in_another_number_type_serves_and_makes_no_collection(machine: Machine) -> None:
    machine.encoder = StandIn(dtype="float32")
    async with running(run_services(machine.settings(), ["search"])) as search:
        await until(search, lambda: is_ready(machine))
        assert not await machine.client.collection_exists("images__hashing"), "the embedder's number type decides"
    machine.encoder = StandIn(dtype="bfloat16")
    async with running(run_services(machine.settings(), ["embedder"])) as embedder:
        await until(embedder, lambda: is_kept(machine))
    machine.servers.clear()
    machine.encoder = StandIn(0.9995, dtype="float32")
    async with running(run_services(machine.settings(), ["search"])) as search:
        await until(search, lambda: serves(machine))
        await until(search, lambda: is_ready(machine))
        async with httpx.AsyncClient(base_url=machine.servers[-1].address, trust_env=False) as client:
            assert (await client.get("/v1/search", params={"q": "a boat"})).status_code == 200


async def test_searches_are_served_while_kafka_is_away(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.away["kafka"] = BrokerAway("Kafka does not answer at kafka:9092", "Start it")
    async with running(run_services(machine.settings(), ["search"])) as search:
        await until(search, lambda: is_ready(machine))
    assert "kafka_away" in [getattr(one, "action", "") for one in caplog.records]


async def test_the_status_tells_how_many_records_wait(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.encoder.loads.set()
    async with running(run_services(machine.settings(), ["ingest", "embedder", "indexer", "search"])) as together:
        await until(together, lambda: is_ready(machine))
        assert await waiting(machine) == 0
    settings = machine.settings()
    settings.kafka.bootstrap_servers = "127.0.0.1:1"
    async with AsyncExitStack() as entered:
        lag = KafkaTransport(Parts.make(settings), entered).lag()
        async with running(lag.run(asyncio.Event())) as asking:
            await until(asking, lambda: was_told("lag_unknown", caplog))
            assert lag.records is None


async def test_a_retry_is_refused_while_kafka_is_away(machine: Machine) -> None:
    settings = machine.settings()
    settings.kafka.bootstrap_servers = "127.0.0.1:1"
    async with AsyncExitStack() as entered:
        publisher = await KafkaTransport(Parts.make(settings), entered, later=True).publisher(IMAGE_EVENTS)
        with pytest.raises(DependencyUnavailable, match=r"127\.0\.0\.1:1"):
            await publisher.publish([Message(b"b/a", b"")])


async def test_an_embedder_that_cannot_see_the_index_says_so_and_works(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sightline")
    async with running(run_services(machine.settings(qdrant=False), ["embedder"])) as task:
        await until(task, lambda: is_ready(machine))
    actions = [getattr(one, "action", "") for one in caplog.records]
    assert "canary_unchecked" in actions
    [ready] = [one for one in caplog.records if getattr(one, "action", "") == "model_ready"]
    assert {"prepare_ms", "forward_ms", "finish_ms", "images_per_second"} <= set(vars(ready)["fields"])


async def is_kept(machine: Machine) -> bool:
    return await machine.canary() is not None


async def waiting(machine: Machine) -> object:
    async with httpx.AsyncClient(base_url=machine.servers[-1].address, trust_env=False) as client:
        return (await client.get("/v1/status")).json()["waiting"]


async def was_told(action: str, caplog: pytest.LogCaptureFixture) -> bool:
    return action in [getattr(one, "action", "") for one in caplog.records]


async def started_to_read(machine: Machine) -> bool:
    return machine.encoder.reading.is_set()
