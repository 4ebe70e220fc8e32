"""Rates for the simulation, measured on the same stack before the run, with other pictures.

The first ones warm everything up. Then nothing happens for a while. Then lone images, one after the other: what a stage
takes when it has nothing else to do. Then a backlog, made while the embedder is frozen: what an upload costs. Last its
drain, without uploads: what the rest costs in full batches, and how much of the machine it uses.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from benchmarks.load.fleet import BUCKET, Fleet
from benchmarks.load.monitoring import LagWatch, Moment, Processes, Prometheus, RunMetrics
from benchmarks.load.record import Calibration
from benchmarks.load.searching import images, indexed_count, journeys, wait_until
from benchmarks.load.uploading import upload

WARM = 300
LONE = 300
"""So many that the slowest hundredth among them is not one alone."""
LONE_RATE = 10.0
"""Lone images a second: nearly each is done before the next, and the index has no time to flush between them."""
BACKLOG = 500
ALL = WARM + LONE + BACKLOG
IDLE_SECONDS = 8.0
SCRAPED_SECONDS = 2.5
"""Until the last scrape has seen what happened."""


def calibrate(
    fleet: Fleet,
    pictures: Mapping[str, Path],
    *,
    processes: Processes,
    metrics: RunMetrics,
    lag: LagWatch,
    prometheus: Prometheus,
) -> Calibration:
    """Measure with these pictures by key, `ALL` of them or fewer in the backlog."""
    left = iter(pictures)
    warm, alone = list(islice(left, WARM)), list(islice(left, LONE))
    backlog = list(left)

    def send(some: Sequence[str], rate: float | None = None) -> dict[str, float]:
        return upload(fleet.s3, BUCKET, {key: pictures[key] for key in some}, metrics, rate=rate)

    send(warm)
    _wait_for(fleet, lag, len(warm))
    idle_from = Moment.of(processes)
    time.sleep(IDLE_SECONDS)
    idle = {name: cpu / IDLE_SECONDS for name, cpu in idle_from.spent(Moment.of(processes)).items()}

    lone_from = Moment.of(processes)
    sent = send(alone, LONE_RATE)
    lone_to = Moment.of(processes)
    _wait_for(fleet, lag, len(pictures) - len(backlog))
    time.sleep(SCRAPED_SECONDS)
    lone_phases = _phases(prometheus, lone_from.at, time.time())
    lone_seconds = _lone_seconds(journeys(images(fleet)), sent)

    fleet.services["embedder"].pause()
    upload_from = Moment.of(processes)
    send(backlog)
    wait_until(lambda: lag.lags["image-events"] >= len(backlog), "the backlog in the embedder's topic", patience=25)
    drain_from = Moment.of(processes)
    fleet.services["embedder"].resume()
    moments = [drain_from]
    _wait_for(fleet, lag, len(pictures), lambda: moments.append(Moment.of(processes)))
    drain_to = Moment.of(processes)
    told = journeys(images(fleet))
    seconds = max(told[key]["indexed"] for key in backlog) - drain_from.at
    time.sleep(SCRAPED_SECONDS)
    return Calibration(
        images=len(pictures),
        idle_cores=_rounded(idle),
        lone_seconds=lone_seconds,
        lone_cpu=_rounded(_an_image(lone_from, lone_to, idle, len(alone))),
        lone_phases=lone_phases,
        upload_cpu=_rounded(_an_image(upload_from, drain_from, idle, len(backlog))),
        drain_cpu=_rounded(_an_image(drain_from, drain_to, idle, len(backlog))),
        drain_rate=round(len(backlog) / seconds, 2),
        drain_cores=round(_cores_in_use(moments, seconds), 3),
        drain_phases=_phases(prometheus, drain_from.at, time.time()),
        start_seconds=_rounded(fleet.start_seconds),
    )


def _an_image(first: Moment, last: Moment, idle: Mapping[str, float], count: int) -> dict[str, float]:
    return {name: max(0.0, cpu) / count for name, cpu in first.spent(last, idle).items()}


def _wait_for(fleet: Fleet, lag: LagWatch, indexed: int, each: Callable[[], None] = lambda: None) -> None:
    def reached() -> bool:
        each()
        return indexed_count(fleet) >= indexed

    wait_until(reached, f"{indexed} images indexed", patience=120)
    wait_until(lambda: not any(lag.lags.values()), "every commit", patience=30)


def _cores_in_use(moments: Sequence[Moment], seconds: float) -> float:
    # Not the beginning, when the first batches are fetched, nor the end, when some consumers have nothing left.
    began = moments[0].at
    steady = [one for one in moments if 0.2 * seconds <= one.at - began <= 0.8 * seconds]
    return _cores(steady[0], steady[-1]) if len(steady) > 1 else _cores(moments[0], moments[-1])


def _cores(first: Moment, last: Moment) -> float:
    return sum(first.spent(last).values()) / (last.at - first.at)


def _lone_seconds(told: Mapping[str, Mapping[str, float]], sent: Mapping[str, float]) -> dict[str, list[float]]:
    # Ingest notes the time before it publishes, so the hint may even be noted before the client hears of the upload.
    ways = {
        "ingest": [told[key]["received"] - at for key, at in sent.items()],
        "embedder": [told[key]["judged"] - told[key]["received"] for key in sent],
        "indexer": [told[key]["indexed"] - told[key]["judged"] for key in sent],
    }
    return {stage: [round(max(0.0, one), 4) for one in seconds] for stage, seconds in ways.items()}


def _phases(prometheus: Prometheus, begin: float, end: float) -> dict[str, float]:
    window = f"[{end - begin:.0f}s]"
    query = f"increase(sightline_phase_seconds_sum{window}) / increase(sightline_phase_seconds_count{window}) > 0"
    found = prometheus.at(query, end)
    return {f"{one['metric']['stage']} {one['metric']['phase']}": round(float(one["value"][1]), 5) for one in found}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in values.items()}
