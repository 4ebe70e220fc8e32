"""`sightline run` with something outside away at its start: alive and not ready until it is there, or a signal."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.distributed import run_services
from runtime.kafka.admin import BrokerAway
from runtime.lifecycle import ExitCode
from schemas.errors import ConfigurationError, DependencyUnavailable
from stores.s3 import BucketMissing
from tests.unit.cli.machine import Machine, is_ready, running, serves, until
from tests.unit.cli.stand_ins import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

AWAY: dict[str, Exception] = {
    "kafka": BrokerAway("Kafka does not answer at kafka:9092", "Start it"),
    "producer": DependencyUnavailable("kafka", "no broker answers at kafka:9092", "Look at the brokers"),
    "qdrant": DependencyUnavailable("qdrant", "the Qdrant server at http://qdrant:6333 could not be reached", "Look"),
    "collection": DependencyUnavailable("qdrant", "the Qdrant server went away again", "Look at its log"),
    "s3": DependencyUnavailable("s3", "s3://images at AWS: the store answered 503 SlowDown", "Wait"),
    "model": DependencyUnavailable("huggingface", "it answers 503: loading", "Wait"),
}
NEEDS = {
    "ingest": ["kafka", "producer"],
    "embedder": ["kafka", "producer", "qdrant", "collection", "s3", "model"],
    "indexer": ["kafka", "qdrant", "collection"],
    "search": ["qdrant", "collection", "model"],
    "ingest embedder indexer search": ["kafka", "producer", "qdrant", "collection", "s3", "model"],
}
CASES = [(services, what) for services, needs in NEEDS.items() for what in needs]


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    made = Machine(tmp_path, monkeypatch)
    yield made
    await made.client.close()


async def waits(machine: Machine, what: str, asked: int) -> bool:
    """Whether the process has asked for it in vain and says what it waits for."""
    if machine.asked[what] < asked or not await serves(machine):
        return False
    status, problems = await machine.readiness()
    return status == 503 and str(AWAY[what]) in " ".join(problems)


@pytest.mark.parametrize(("services", "what"), CASES)
async def test_what_is_away_at_the_start_is_waited_for(machine: Machine, services: str, what: str) -> None:
    machine.away = {what: AWAY[what]}
    settings = machine.settings(SIGHTLINE_INGEST__BUCKETS="images")
    async with running(run_services(settings, services.split())) as task:
        await until(task, lambda: waits(machine, what, 3))
        assert await machine.probes() == {"startupz": 200, "livez": 200}, "a restart would not bring it back"
        machine.away.clear()
        await until(task, lambda: is_ready(machine))


@pytest.mark.parametrize(("services", "what"), CASES)
async def test_a_signal_ends_the_wait_as_if_nothing_had_been(machine: Machine, services: str, what: str) -> None:
    machine.away = {what: AWAY[what]}
    settings = machine.settings(SIGHTLINE_INGEST__BUCKETS="images")
    async with running(run_services(settings, services.split())) as task:
        await until(task, lambda: waits(machine, what, 2))
        asked = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(task, PATIENCE) is ExitCode.CLEAN
        assert time.monotonic() - asked < 15


@pytest.mark.parametrize(
    ("services", "what", "error"),
    [
        ("ingest", "kafka", ConfigurationError("Kafka at kafka:9092 refuses our credentials")),
        ("embedder", "s3", BucketMissing("s3://images at AWS: the store answered 404 NoSuchBucket")),
        ("embedder", "model", ConfigurationError("the token is wrong")),
        ("indexer", "qdrant", ConfigurationError("the Qdrant server refused our key")),
        ("search", "qdrant", ConfigurationError("the Qdrant server refused our key")),
    ],
)
async def test_what_a_person_must_mend_ends_the_start_at_once_and_while_it_waits(
    machine: Machine, services: str, what: str, error: Exception
) -> None:
    settings = machine.settings(SIGHTLINE_INGEST__BUCKETS="images")
    machine.away = {what: error}
    with pytest.raises(type(error), match=str(error)):
        await asyncio.wait_for(run_services(settings, services.split()), PATIENCE)
    assert machine.asked[what] == 1

    machine.away = {what: AWAY[what]}
    task = asyncio.create_task(run_services(settings, services.split()))
    await until(task, lambda: waits(machine, what, 2))
    machine.away = {what: error}
    with pytest.raises(type(error), match=str(error)):
        await asyncio.wait_for(task, PATIENCE)


async def test_a_model_is_loaded_while_kafka_is_away(machine: Machine) -> None:
    machine.away = {"kafka": AWAY["kafka"]}
    machine.encoder.loads.clear()
    async with running(run_services(machine.settings(), ["embedder"])) as task:
        await until(task, lambda: asked_for(machine, "model"))
        assert await machine.probes() == {"startupz": 503, "livez": 200}, "the model is not loaded yet"
        machine.encoder.loads.set()
        await until(task, lambda: waits(machine, "kafka", 2))


async def asked_for(machine: Machine, what: str) -> bool:
    return machine.asked[what] > 0 and await serves(machine)
