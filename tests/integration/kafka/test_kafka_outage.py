"""The broker goes away: paused for a while, and stopped and started again."""

import asyncio
from pathlib import Path

import pytest

from deploy.stack import KafkaServer, start_kafka
from tests.integration.kafka.rig import Rig, Stage, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]

KEYS = [f"k{n}.jpg" for n in range(300)]


async def _publish_all(rig: Rig) -> None:
    from schemas.errors import DependencyUnavailable

    for first in range(0, len(KEYS), 10):
        while True:
            try:
                await rig.publish(KEYS[first : first + 10])
            except DependencyUnavailable:
                await asyncio.sleep(0.1)
                continue
            break
        await asyncio.sleep(0.02)


async def test_a_broker_that_freezes_loses_nothing(kafka: str, pausable: KafkaServer) -> None:
    async with Rig.make(kafka, request_timeout_ms=1000) as rig:
        stage = Stage()
        running = rig.start(rig.consumer(stage, consumers=2, batch_records=5))
        publishing = asyncio.create_task(_publish_all(rig))
        await until(lambda: len(set(stage.finished)) > 30)
        pausable.process.pause()
        await asyncio.sleep(4)  # long enough for every deadline; nothing of ours tells when that is
        pausable.process.resume()
        await asyncio.wait_for(publishing, 40)
        await until(lambda: set(stage.finished) == set(KEYS), patience=40)
        await running.finish()
        assert set(await rig.emitted()) == set(KEYS)


async def test_a_broker_that_is_killed_and_started_again_loses_nothing(
    kafka_server: KafkaServer, tmp_path: Path
) -> None:
    server = start_kafka(tmp_path)
    try:
        async with Rig.make(server.address, request_timeout_ms=2000) as rig:
            stage = Stage()
            running = rig.start(rig.consumer(stage, consumers=2, batch_records=5))
            publishing = asyncio.create_task(_publish_all(rig))
            await until(lambda: len(set(stage.finished)) > 30)
            await asyncio.to_thread(server.kill)
            server = await asyncio.to_thread(start_kafka, tmp_path)
            await asyncio.wait_for(publishing, 40)
            await until(lambda: set(stage.finished) == set(KEYS), patience=40)
            await running.finish()
            assert set(await rig.emitted()) == set(KEYS)
            assert sum((await rig.committed()).values()) >= len(KEYS)
            assert rig.value("sightline_kafka_consumer_stalled") == 0
    finally:
        server.kill()


async def test_a_commit_without_an_answer_is_tried_again_and_counted(kafka: str, pausable: KafkaServer) -> None:
    async with Rig.make(kafka, request_timeout_ms=1000) as rig:
        await rig.publish(KEYS[:4])
        worked = asyncio.Event()

        async def freeze(items: object) -> dict[str, object]:
            from runtime.stage import Emit

            pausable.process.pause()
            worked.set()
            return {item.id: Emit(()) for item in items}  # type: ignore[attr-defined]

        stage = Stage(freeze)  # type: ignore[arg-type]
        running = rig.start(rig.consumer(stage))
        await worked.wait()
        await until(lambda: rig.value("sightline_kafka_commit_failures_total", kind="timeout") >= 1)
        pausable.process.resume()
        await until(lambda: len(stage.finished) >= 4)

        async def all_committed() -> bool:
            return sum((await rig.committed()).values()) == 4

        stage.answer = Stage().answer
        await until(all_committed, patience=30)
        await running.finish()


async def test_a_consumer_that_is_started_without_a_broker_joins_once_it_is_there(rig: Rig) -> None:
    await rig.publish(KEYS[:3])
    stage, servers = Stage(), rig.settings.bootstrap_servers
    consumer = rig.consumer(stage, bootstrap_servers="127.0.0.1:1")
    running = rig.start(consumer)
    await until(lambda: rig.value("sightline_kafka_consumer_stalled") == 1)
    assert consumer.not_ready is not None
    assert not running.task.done()
    consumer._settings.bootstrap_servers = servers
    await until(lambda: set(stage.finished) == set(KEYS[:3]))
    await until(lambda: consumer.not_ready is None)
    await running.finish()


async def test_a_consumer_that_waits_for_a_broker_stops_when_it_is_told_to(rig: Rig) -> None:
    running = rig.start(rig.consumer(Stage(), bootstrap_servers="127.0.0.1:1"))
    await until(lambda: rig.value("sightline_kafka_consumer_stalled") == 1)
    await running.finish()
