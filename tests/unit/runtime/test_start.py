"""What a start does while a dependency is away, and what it tells of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from runtime.log import Log
from runtime.metrics import MetricSet
from runtime.probes import Probes
from runtime.retry import RetryPolicy
from runtime.start import TELL_SECONDS, Start
from schemas.errors import ConfigurationError, DependencyUnavailable

AWAY = DependencyUnavailable("kafka", "Kafka does not answer at k:9092", "Start it")
OTHER = DependencyUnavailable("qdrant", "q could not be reached", "Look at its log")


class Rig:
    """A start whose clock moves by `step` seconds with each attempt."""

    def __init__(self, *, step: float = 0.0, tell: Callable[[str], None] | None = None) -> None:
        self.probes = Probes()
        self.registry = CollectorRegistry()
        self.now = 0.0
        self.step = step
        self.start = Start(
            ["embedder", "search"],
            probes=self.probes,
            readiness=self.probes.component("services", why="they are being opened"),
            metrics=MetricSet.make(self.registry),
            log=Log("sightline.test"),
            tell=tell,
            policy=RetryPolicy(first=0.0),
            clock=lambda: self.now,
        )

    def opening(self, *outcomes: DependencyUnavailable | Callable[[], None]) -> Callable[[], Awaitable[str]]:
        """Each attempt's outcome, one after the other: raised, or called and raised as `AWAY`; then it is open."""
        left = list(outcomes)

        async def opening() -> str:
            self.now += self.step
            if not left:
                return "open"
            outcome = left.pop(0)
            if isinstance(outcome, DependencyUnavailable):
                raise outcome
            outcome()
            raise AWAY

        return opening

    def metric(self, name: str, stage: str, dependency: str) -> float:
        return self.registry.get_sample_value(name, {"stage": stage, "dependency": dependency}) or 0.0


async def test_while_it_waits_it_is_alive_started_and_says_what_for() -> None:
    rig = Rig()
    seen: list[object] = []

    def look() -> None:
        # Of the attempt before.
        seen.append((rig.probes.startup().ok, rig.probes.liveness().ok, rig.probes.readiness().body["problems"]))
        seen.append([rig.metric("sightline_waiting_for_dependency", one, "kafka") for one in ("embedder", "search")])

    assert await rig.start.until_there(rig.opening(AWAY, look)) == "open"
    said = "services is not ready: it waits for kafka: Kafka does not answer at k:9092. Start it"
    assert seen == [(True, True, [said]), [1.0, 1.0]]
    assert rig.probes.readiness().body["problems"] == ["services is not ready: they are being opened"]
    assert rig.metric("sightline_waiting_for_dependency", "search", "kafka") == 0
    assert rig.metric("sightline_retries_total", "embedder", "kafka") == 2


async def test_what_is_there_at_once_is_no_wait() -> None:
    rig = Rig()
    assert await rig.start.until_there(rig.opening()) == "open"
    assert not rig.probes.startup().ok


async def test_what_a_person_must_mend_is_raised_and_nothing_is_waited_for_any_more() -> None:
    rig = Rig()

    def refuse() -> None:
        raise ConfigurationError("the password is wrong")

    with pytest.raises(ConfigurationError, match="password"):
        await rig.start.until_there(rig.opening(AWAY, refuse))
    assert rig.metric("sightline_waiting_for_dependency", "embedder", "kafka") == 0


async def test_an_outage_is_told_when_it_begins_changes_lasts_and_ends() -> None:
    told: list[str] = []
    rig = Rig(step=TELL_SECONDS / 10, tell=told.append)
    await rig.start.until_there(rig.opening(*[AWAY] * 15, *[OTHER] * 5))
    assert told == [
        *[f"waiting for {AWAY}. It goes on by itself once that is there"] * 2,
        f"waiting for {OTHER}. It goes on by itself once that is there",
        "qdrant is there; the start goes on",
    ]


async def test_without_a_person_the_log_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig = Rig()
    await rig.start.until_there(rig.opening(*[AWAY] * 5))
    lines = [(getattr(one, "action", ""), one.levelname) for one in caplog.records]
    assert lines == [("dependency_unavailable", "WARNING"), ("dependency_answered", "INFO")]


async def test_a_cancelled_call_that_looks_like_an_outage_ends_the_wait() -> None:
    rig = Rig()
    tries = 0

    async def opening() -> None:
        nonlocal tries
        tries += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise AWAY from None

    task = asyncio.create_task(rig.start.until_there(opening))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert tries == 1
