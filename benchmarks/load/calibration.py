"""Rates for the simulation, measured on the same stack before the run, with other pictures.

First nothing happens. Then lone images, one after the other: what a stage takes when it has nothing else to do. Then a
backlog, made while the embedder is frozen: what an upload costs. Last its drain, without uploads: what the rest costs.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.load.fleet import BUCKET, Fleet
from benchmarks.load.monitoring import LagWatch, Processes, Prometheus, RunMetrics, Usage
from benchmarks.load.record import Calibration
from benchmarks.load.searching import images, indexed_count, journeys, wait_until
from benchmarks.load.uploading import upload

IDLE_SECONDS = 8.0
LONE = 20
LONE_RATE = 2.5
"""Lone images a second: each is done long before the next."""


def calibrate(
    fleet: Fleet,
    pictures: Sequence[Path],
    *,
    processes: Processes,
    metrics: RunMetrics,
    lag: LagWatch,
    prometheus: Prometheus,
) -> Calibration:
    """Measure with these pictures, `LONE` of them alone and the others as a backlog."""
    idle_from = processes.usage()
    time.sleep(IDLE_SECONDS)
    idle = {name: one / IDLE_SECONDS for name, one in _spent(idle_from, processes.usage()).items()}
    lone = _lone(fleet, pictures[:LONE], metrics)

    backlog = pictures[LONE:]
    already = indexed_count(fleet.search)
    fleet.services["embedder"].pause()
    began, before = time.time(), processes.usage()
    upload(fleet.s3, BUCKET, "calibration/backlog", backlog, metrics)
    wait_until(lambda: lag.lags["image-events"] >= len(backlog), "the backlog reaching the embedder's topic", patience=30)
    uploaded, between = time.time(), processes.usage()
    fleet.services["embedder"].resume()
    wait_until(lambda: indexed_count(fleet.search) >= already + len(backlog), "the drain", patience=120)
    after = processes.usage()
    told = journeys(images(fleet.search, "calibration/backlog"))
    seconds = max(one["indexed"] for one in told.values()) - uploaded
    # The last scrape must have seen the end.
    time.sleep(2.0)
    drain = _spent(between, after)
    return Calibration(
        images=len(pictures),
        idle_cores=_rounded(idle),
        lone_seconds=_rounded(lone),
        upload_cpu=_rounded(_an_image(_spent(before, between), idle, uploaded - began, len(backlog))),
        drain_cpu=_rounded(_an_image(drain, idle, seconds, len(backlog))),
        drain_rate=round(len(backlog) / seconds, 2),
        drain_cores=round(sum(drain.values()) / seconds, 3),
        phases=_phases(prometheus, time.time(), time.time() - uploaded),
        start_seconds=_rounded(fleet.start_seconds),
    )


def _lone(fleet: Fleet, pictures: Sequence[Path], metrics: RunMetrics) -> dict[str, float]:
    prefix = "calibration/lone"
    acknowledged = upload(fleet.s3, BUCKET, prefix, pictures, metrics, rate=LONE_RATE)
    wait_until(lambda: len(images(fleet.search, prefix)) >= len(pictures), "the lone images", patience=30)
    told = journeys(images(fleet.search, prefix))
    ways = {
        "ingest": [told[key]["received"] - at for key, at in acknowledged.items()],
        "embedder": [told[key]["judged"] - told[key]["received"] for key in acknowledged],
        "indexer": [told[key]["indexed"] - told[key]["judged"] for key in acknowledged],
    }
    # Ingest notes the time before it publishes, so the hint may even be noted before the client hears of the upload.
    return {stage: max(0.0, statistics.median(seconds)) for stage, seconds in ways.items()}


def _spent(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, float]:
    return {name: after[name].cpu - used.cpu for name, used in before.items()}


def _an_image(spent: Mapping[str, float], idle: Mapping[str, float], seconds: float, count: int) -> dict[str, float]:
    return {name: max(0.0, used - idle[name] * seconds) / count for name, used in spent.items()}


def _phases(prometheus: Prometheus, at: float, seconds: float) -> dict[str, float]:
    window = f"[{seconds:.0f}s]"
    query = f"increase(sightline_phase_seconds_sum{window}) / increase(sightline_phase_seconds_count{window}) > 0"
    found = prometheus.at(query, at)
    return {f"{one['metric']['stage']} {one['metric']['phase']}": round(float(one["value"][1]), 5) for one in found}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in values.items()}
