import asyncio
import time
from collections.abc import Hashable
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from runtime.in_hand import taken_in_hand
from runtime.metrics import MetricSet, StageMetrics
from runtime.probe_routes import probe_app
from runtime.probes import EVENT_LOOP_LAG, Probes


class Clock:
    """Monotonic time that a test may move forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def probes(clock: Clock) -> Probes:
    return Probes(stall_seconds=60, heartbeat_seconds=10, clock=clock)


@pytest.fixture
def stage(probes: Probes) -> StageMetrics:
    metrics = MetricSet.make(CollectorRegistry()).stage("embedder")
    probes.stage("embedder", metrics)
    return metrics


def later(probes: Probes, clock: Clock, seconds: float) -> None:
    clock.ahead += seconds
    probes.beat()


async def get(probes: Probes, path: str, **headers: str) -> httpx.Response:
    app = probe_app(probes, CollectorRegistry())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.get(path, headers=headers)


async def test_a_process_that_has_registered_nothing_is_not_ready(probes: Probes) -> None:
    answer = await get(probes, "/readyz")
    assert answer.status_code == 503
    assert "registered" in answer.json()["problems"][0]


async def test_readyz_names_the_component_that_is_not_ready_and_why(probes: Probes) -> None:
    probes.component("index").ready()
    probes.component("encoder", why="ViT-B-32 is loading its weights")
    answer = await get(probes, "/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "not ready",
        "problems": ["encoder is not ready: ViT-B-32 is loading its weights"],
        "components": {
            "index": {"ready": True},
            "encoder": {"ready": False, "why": "ViT-B-32 is loading its weights"},
        },
    }


async def test_a_process_is_ready_once_every_component_says_so_and_no_longer_when_one_takes_it_back(
    probes: Probes,
) -> None:
    index, encoder = probes.component("index"), probes.component("encoder")
    index.ready()
    encoder.ready()
    assert (await get(probes, "/readyz")).status_code == 200
    index.not_ready("it is draining")
    assert (await get(probes, "/readyz")).status_code == 503
    assert (await get(probes, "/livez")).status_code == 200


def test_two_components_of_one_name_are_refused(probes: Probes) -> None:
    probes.component("index")
    with pytest.raises(ValueError, match="index is registered already"):
        probes.component("index")


async def test_a_stale_heartbeat_is_not_alive(probes: Probes, clock: Clock) -> None:
    assert (await get(probes, "/livez")).status_code == 200
    clock.ahead += 11
    answer = await get(probes, "/livez")
    assert answer.status_code == 503
    assert "heartbeat" in answer.json()["problems"][0]


async def test_entered_probes_beat_by_themselves_and_stop_when_left(clock: Clock) -> None:
    beaten = asyncio.Event()

    class Listening(Probes):
        def beat(self) -> None:
            super().beat()
            beaten.set()

    probes = Listening(heartbeat_seconds=10, beat_seconds=0.001, clock=clock)
    async with probes:
        clock.ahead += 100
        assert not probes.liveness().ok
        beaten.clear()
        await asyncio.wait_for(beaten.wait(), 5)
        assert probes.liveness().ok
    beaten.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(beaten.wait(), 0.05)


def test_a_stage_with_work_in_flight_and_no_progress_is_stuck(
    probes: Probes, stage: StageMetrics, clock: Clock
) -> None:
    stage.received([])
    probes.beat()
    later(probes, clock, 59)
    assert probes.liveness().ok
    later(probes, clock, 2)
    report = probes.liveness()
    assert not report.ok
    assert "stage embedder has had work in flight for 61 s" in report.body["problems"][0]


def test_a_batch_that_is_stuck_does_not_hide_behind_one_that_moves(
    probes: Probes, stage: StageMetrics, clock: Clock
) -> None:
    stage.received([])
    moving = stage.received([])
    probes.beat()
    for _ in range(3):
        assert probes.liveness().ok
        moving.moved()
        later(probes, clock, 29)
        stage.left(moving)
        moving = stage.received([])
    assert not probes.liveness().ok


def test_a_batch_that_moves_is_alive_however_long_it_takes(probes: Probes, stage: StageMetrics, clock: Clock) -> None:
    batch = stage.received([])
    probes.beat()
    for _ in range(10):
        later(probes, clock, 59)
        batch.moved()
        assert probes.liveness().ok, "it has moved since the last heartbeat"
        probes.beat()
    later(probes, clock, 61)
    assert not probes.liveness().ok


def test_a_batch_is_not_taken_for_an_earlier_one_that_lay_at_the_same_address(
    probes: Probes, stage: StageMetrics, clock: Clock
) -> None:
    for _ in range(10):
        batch = stage.received([])
        later(probes, clock, 30)
        assert probes.liveness().ok, "no batch stood still for longer than 30 s"
        stage.left(batch)
        del batch


def test_waiting_behind_others_is_alive_while_those_are_served(
    probes: Probes, stage: StageMetrics, clock: Clock
) -> None:
    passes = 0
    with stage.received([]).behind(lambda: passes):
        for _ in range(5):
            later(probes, clock, 50)
            passes += 1
            probes.beat()
            assert probes.liveness().ok
        later(probes, clock, 61)
        assert not probes.liveness().ok, "now the model serves nobody"


def test_a_stage_that_waits_for_a_dependency_is_alive_however_long_it_waits(
    probes: Probes, stage: StageMetrics, clock: Clock
) -> None:
    with taken_in_hand(stage.received([])):
        stage.waiting("s3", True)
        for _ in range(100):
            later(probes, clock, 30)
            assert probes.liveness().ok
        assert probes.liveness().body["stages"]["embedder"]["waiting_for"] == ["s3"]
        stage.waiting("s3", False)
    probes.beat()
    later(probes, clock, 59)
    assert probes.liveness().ok, "what it waited does not count once the dependency answers"
    later(probes, clock, 2)
    assert not probes.liveness().ok


def test_the_first_batch_after_an_idle_hour_is_not_taken_for_stalled(
    probes: Probes, stage: StageMetrics, clock: Clock
) -> None:
    later(probes, clock, 3600)
    stage.received([])
    assert probes.liveness().ok
    later(probes, clock, 1)
    assert probes.liveness().ok


def test_an_idle_stage_is_alive(probes: Probes, stage: StageMetrics, clock: Clock) -> None:
    batch = stage.received([])
    probes.beat()
    stage.left(batch)
    later(probes, clock, 3600)
    assert probes.liveness().ok


def test_other_work_that_stands_still_is_not_alive(probes: Probes, clock: Clock) -> None:
    work: dict[Hashable, int | None] = {}
    probes.work("the model", lambda: work)
    later(probes, clock, 3600)
    assert probes.liveness().ok, "nothing to do"
    work[1] = 0
    probes.beat()
    later(probes, clock, 61)
    assert "the model has had work in flight for 61 s" in probes.liveness().body["problems"][0]
    del work[1]
    assert probes.liveness().ok


async def test_a_process_has_started_once_and_for_all(probes: Probes) -> None:
    encoder = probes.component("encoder", why="it loads its weights")
    answer = await get(probes, "/startupz")
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["it is starting: encoder is not ready: it loads its weights"]
    assert (await get(probes, "/livez")).status_code == 200, "loading is alive"
    encoder.ready()
    probes.started()
    assert (await get(probes, "/startupz")).status_code == 200
    encoder.not_ready("the broker is away")
    assert (await get(probes, "/startupz")).status_code == 200


async def test_a_condition_is_asked_for_each_probe(probes: Probes) -> None:
    why: list[str | None] = ["it has not joined its group", None]
    probes.condition("consumer", lambda: why.pop(0))
    answer = await get(probes, "/readyz")
    assert answer.status_code == 503
    assert answer.json()["components"] == {"consumer": {"ready": False, "why": "it has not joined its group"}}
    assert (await get(probes, "/readyz")).status_code == 200
    with pytest.raises(ValueError, match="consumer is registered already"):
        probes.component("consumer")


async def test_a_blocked_event_loop_shows_in_its_lag() -> None:
    registry = CollectorRegistry()
    lag = EVENT_LOOP_LAG.histogram(registry)
    async with Probes(beat_seconds=0.01, loop_lag=lag.observe):
        await asyncio.sleep(0.02)
        time.sleep(0.3)  # noqa: ASYNC251 - what must not happen is what is measured
        await asyncio.sleep(0.02)
    assert (registry.get_sample_value("sightline_event_loop_lag_seconds_sum") or 0) > 0.2


@pytest.mark.parametrize(
    ("accept", "expected"),
    [("", "text/plain"), ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text")],
)
async def test_metrics_come_in_the_format_that_is_asked_for(accept: str, expected: str) -> None:
    registry = CollectorRegistry()
    MetricSet.make(registry).stage("embedder").received([])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(probe_app(Probes(), registry)), base_url="http://test"
    ) as client:
        answer: Any = await client.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith(expected)
    assert 'sightline_batches_in_flight{stage="embedder"} 1.0' in answer.text


async def test_other_paths_are_told_to_come_back_until_the_process_is_ready_and_do_not_exist_then(
    probes: Probes,
) -> None:
    encoder = probes.component("encoder", why="it loads its weights")
    answer = await get(probes, "/v1/search?q=x")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "encoder is not ready: it loads its weights."
    encoder.ready()
    assert (await get(probes, "/v1/search?q=x")).status_code == 404
