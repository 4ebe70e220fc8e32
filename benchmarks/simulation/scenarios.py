"""Fleets under loads that rise, fall and fail: what arithmetic cannot see.

The embedders are scaled, by KEDA on their lag; ingest and indexer have pods enough. Before anything happens there are
two minutes for everything to settle.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.load.record import Measured
from benchmarks.simulation.autoscaler import Autoscaler, ScalingTerms
from benchmarks.simulation.consumers import StageRates
from benchmarks.simulation.pipeline import Pipeline, Results
from benchmarks.simulation.processor import Processor

SETTLE = 120.0
OBJECTIVE = 10.0
"""Seconds: 99 % of images shall be searchable within."""
FETCH = 0.15
"""Seconds until S3 gives the first byte of a small object, 0.1 to 0.2."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What runs, and what KEDA may make of it."""

    name: str
    mean: float
    """Images a second, over a day."""
    rate: float
    """Images a second of one embedder."""
    lanes: int
    batch_records: int
    partitions: int
    scaling: ScalingTerms
    pods: int
    """At the beginning."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens. Times in seconds after the settling."""

    name: str
    rise: float = 1.0
    """The rate is so many times the mean from the beginning on ..."""
    rise_seconds: float = 0.0
    """... for so long."""
    at_once: float = 0.0
    """So many seconds of the mean arrive in one minute besides."""
    dies: bool = False
    """An embedder is killed at the beginning."""
    lasts: float = 3600.0


@dataclass(frozen=True)
class Outcome:
    """What a scenario came to."""

    most_pods: int
    most_lag: int
    cleared: float
    """Seconds from the beginning until the lag was once that of a quiet minute again; -1 if it never was."""
    p50: float
    p99: float
    late: float
    """The share of all images that took longer than the objective."""
    rebalances: int
    paused: float


def play(fleet: Fleet, scenario: Scenario, measured: Measured, *, seed: int = 1) -> Outcome:
    """Simulate one scenario. Ingest and indexer have pods enough, so each image is in them as long as a lone one."""
    lone = measured.calibration.lone_seconds
    elsewhere = statistics.median(lone["ingest"]) + statistics.median(lone["indexer"])
    pipeline = Pipeline(
        [_embedder(fleet, measured)], [("image-events", fleet.partitions)], seed=seed, dealt_by_chance=True
    )
    [group] = pipeline.groups
    pipeline.start([[Processor(pipeline.env, 1.0) for _ in range(fleet.pods)]])
    scaler = Autoscaler(pipeline.env, group, fleet.scaling, cores=1.0)
    pipeline.arrive(_arrivals(fleet, scenario))
    pipeline.watch(1.0, group)
    pipeline.run(SETTLE)
    before = group.rebalances, group.paused_seconds
    if scenario.dies:
        group.kill()
    results = pipeline.run(SETTLE + scenario.lasts)
    return _outcome(results, scaler, elsewhere, group.rebalances - before[0], group.paused_seconds - before[1])


def _embedder(fleet: Fleet, measured: Measured) -> StageRates:
    phases = measured.calibration.lone_phases
    return StageRates(
        name="embedder",
        lanes=fleet.lanes,
        batch_records=fleet.batch_records,
        waits=(FETCH,),
        batch_work=0.0,
        image_work=1 / fleet.rate,
        publish=phases["embedder publish"],
        commit=phases["embedder commit"],
    )


def _arrivals(fleet: Fleet, scenario: Scenario) -> Iterator[tuple[float, int]]:
    owed, step = 0.0, 1.0
    for tick in range(int((SETTLE + scenario.lasts) / step)):
        now = tick * step
        since = now - SETTLE
        rate = fleet.mean * (scenario.rise if 0 <= since < scenario.rise_seconds else 1.0)
        if 0 <= since < 60:
            rate += fleet.mean * scenario.at_once / 60
        owed += rate * step
        count, owed = int(owed), owed - int(owed)
        if count:
            yield now, count


def _outcome(results: Results, scaler: Autoscaler, elsewhere: float, rebalances: int, paused: float) -> Outcome:
    lags = results.lags["image-events"]
    settled = [lag for look, lag in zip(results.looks, lags, strict=True) if SETTLE / 2 <= look < SETTLE]
    usual = max(2 * max(settled), 10)
    after = [(look, lag) for look, lag in zip(results.looks, lags, strict=True) if look >= SETTLE]
    highest = max(range(len(after)), key=lambda at: after[at][1])
    # Later rebalances, when pods go again, are another matter.
    cleared = next((look - SETTLE for look, lag in after[highest:] if lag <= usual), -1.0)
    span = (SETTLE, float("inf"))
    late = sum(count for born, done, count in results.done if born >= SETTLE and done - born + elsewhere > OBJECTIVE)
    # What still waits at the end is late as well.
    late += lags[-1] if cleared < 0 else 0
    all_of_them = sum(count for born, _, count in results.done if born >= SETTLE) + (lags[-1] if cleared < 0 else 0)
    return Outcome(
        most_pods=max(scaler.most, max(results.pods)),
        most_lag=max(lags),
        cleared=cleared,
        p50=results.freshness(0.5, span) + elsewhere,
        p99=results.freshness(0.99, span) + elsewhere,
        late=late / max(1, all_of_them),
        rebalances=rebalances,
        paused=paused,
    )
