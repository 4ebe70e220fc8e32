"""What the probes say of a consumer on a real broker: while it joins, works, and has lost its broker."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry

from deploy.stack import KafkaServer
from runtime.kafka.lane import Lane
from runtime.metrics import MetricSet
from runtime.probes import Probes
from runtime.stage import Item, Outcome
from schemas.events import ImageEvent
from tests.integration.kafka.rig import Rig, Stage, echo, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]


async def test_ready_is_not_before_every_member_has_joined(rig: Rig) -> None:
    consumer = rig.consumer(Stage(), consumers=2)
    assert consumer.not_ready is not None
    assert f"no member of the group {consumer.group}" in consumer.not_ready
    running = rig.start(consumer)
    await until(lambda: consumer.not_ready is None)
    assert all(lane.consumer is not None and lane.consumer.assignment() for lane in consumer.lanes)
    await running.finish()


async def test_a_member_without_partitions_is_ready_too(rig: Rig) -> None:
    consumer = rig.consumer(Stage(), consumers=5)
    running = rig.start(consumer)
    await until(lambda: consumer.not_ready is None, patience=30)
    await until(lambda: sorted(map(partitions, consumer.lanes)) == [0, 1, 1, 1, 1])
    await asyncio.sleep(0.5)  # two looks at the brokers
    assert consumer.not_ready is None
    await running.finish()


def partitions(lane: Lane) -> int:
    return len(lane.consumer.assignment()) if lane.consumer is not None else 0


async def test_a_broker_that_is_away_is_not_ready_and_alive(kafka: str, pausable: KafkaServer) -> None:
    async with Rig.make(kafka, request_timeout_ms=1000) as rig:
        metrics = MetricSet.make(CollectorRegistry()).stage("scripted")
        stage = Stage()
        consumer = rig.consumer(stage, consumers=2, stage_metrics=metrics)
        async with Probes(stall_seconds=4, beat_seconds=0.05) as probes:
            probes.stage("scripted", metrics)
            probes.condition("consumer", lambda: consumer.not_ready)
            running = rig.start(consumer)
            await until(lambda: probes.readiness().ok)
            await rig.publish(["a.jpg"])
            await until(lambda: stage.finished == ["a.jpg"] and metrics.in_flight == 0)

            held = asyncio.Event()

            async def while_the_broker_freezes(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
                pausable.process.pause()
                held.set()
                return await echo(items)

            stage.answer = while_the_broker_freezes
            await rig.publish(["b.jpg"])
            await held.wait()
            stage.answer = echo
            await until(lambda: not probes.readiness().ok, patience=20)
            assert "no broker answers" in str(probes.readiness().body["problems"])
            for _ in range(50):
                assert probes.liveness().ok, "its batch waits for the broker, longer than any stall is allowed"
                await asyncio.sleep(0.1)
            assert set(metrics.waiting_for) == {"kafka"}
            pausable.process.resume()
            await until(lambda: probes.readiness().ok, patience=40)
            await until(lambda: metrics.in_flight == 0, patience=40)
            assert probes.liveness().ok
            await running.finish()
