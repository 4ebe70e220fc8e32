"""`make load`: upload 2,000 photographs, watch three processes index them, and draw what was seen.

Exit code 0 only if every image is indexed and found, and nothing was lost or refused; `--keep FOLDER` keeps the logs.
"""

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import fmean

import psutil

from benchmarks.load import report
from benchmarks.load.calibration import ALL, calibrate
from benchmarks.load.fleet import BUCKET, Fleet, running_fleet
from benchmarks.load.monitoring import OTHERS, LagWatch, Moment, Processes, Prometheus, RunMetrics, running_prometheus
from benchmarks.load.panels import draw
from benchmarks.load.pictures import draw_pictures
from benchmarks.load.questions import ask
from benchmarks.load.record import PATH, Machine, Measured, Run, Series, Setup
from benchmarks.load.searching import images, indexed_count, journeys, verify, wait_until
from benchmarks.load.uploading import CLIENTS, upload
from deploy.stack import StackError
from runtime.settings import Settings

IMAGES = 2000
STEADY_SHARE = 0.3
STEADY_RATE = 10.0
SEARCH_EVERY = 25
QUIET_SECONDS = 6.0
DRAIN_PATIENCE = 240.0
FILLED_AFTER = 2.5
"""Seconds after which a burst keeps every stage busy."""
SCRAPES_MISSED = 0.02
"""The share of a process's scrapes that may fail: they come every second, have one second, and the machine is full."""


def main() -> int:
    """Parse the command line and run; 1 where anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--model", default="sightline-small")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rate", type=float, default=STEADY_RATE, help="uploads a second before the burst")
    parser.add_argument("--calibration", type=int, default=ALL, help="images of the calibration")
    parser.add_argument("--keep", type=Path, help="leave everything in this folder, logs too")
    parser.add_argument("--no-docs", action="store_true", help="change neither docs/ nor the stored measurements")
    arguments = parser.parse_args()
    # So that what was started is stopped when somebody ends this by `kill` or `timeout`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as entered:
        folder = arguments.keep or Path(entered.enter_context(tempfile.TemporaryDirectory(prefix="sightline-load-")))
        try:
            measured = _measure(folder.resolve(), arguments)
        except StackError as error:
            print(error, file=sys.stderr)
            return 1
        measured.write(folder / PATH.name)
        if not arguments.no_docs and not measured.run.problems:
            measured.write()
            report.write(measured)
            draw(measured)
    print(report.summary(measured))
    return 1 if measured.run.problems else 0


def _measure(folder: Path, arguments: argparse.Namespace) -> Measured:
    _say(f"drawing {arguments.images + arguments.calibration} photographs ...")
    pictures = _keyed("load", draw_pictures(folder / "pictures", arguments.images, seed=1))
    others = _keyed("calibration", draw_pictures(folder / "others", arguments.calibration, seed=2))
    with ExitStack() as entered:
        _say("starting Kafka, the S3 server and three processes ...")
        fleet = entered.enter_context(running_fleet(folder, arguments.model))
        processes = Processes()
        metrics = RunMetrics(processes)
        address = entered.enter_context(metrics.served())
        targets = {name: service.address.removeprefix("http://") for name, service in fleet.services.items()}
        prometheus, pid = entered.enter_context(running_prometheus(folder, targets | {"load run": address}))
        for name, service in fleet.services.items():
            processes.add(name, service.process.pid)
        for name, number in (fleet.servers | {"Prometheus": pid, "clients": os.getpid()}).items():
            processes.add(name, number)
        lag = entered.enter_context(LagWatch(fleet.kafka, metrics))
        wait_until(lambda: len(lag.lags) == 3, "a first look at the lag", patience=30)
        wait_until(lambda: all(prometheus.targets_up().values()), "Prometheus scraping everything", patience=30)
        _say("calibrating ...")
        calibration = calibrate(fleet, others, processes=processes, metrics=metrics, lag=lag, prometheus=prometheus)
        wait_until(lambda: not any(lag.lags.values()), "the calibration's last commits", patience=30)
        time.sleep(QUIET_SECONDS)
        run, began, ended = _run(
            fleet, pictures, others, arguments.rate, processes, metrics, lag, calibration.idle_cores
        )
        run = run.model_copy(update={"problems": run.problems + _scrapes(prometheus, began, ended)})
        panels = ask(prometheus, began, ended)
        full = _full_cores(panels["cpu"], run)
        run = run.model_copy(update={"others_by_second": _others(panels["cpu"]), "full_cores": full})
        setup = _setup(arguments, pictures)
        codes = fleet.stop_services()
        wrong = [f"{name} ended with code {code}, not 0" for name, code in codes.items() if code]
        run = run.model_copy(update={"problems": run.problems + wrong, **_sizes(folder, lag)})
    return Measured(machine=_machine(), setup=setup, calibration=calibration, run=run, panels=panels)


def _keyed(prefix: str, paths: list[Path]) -> dict[str, Path]:
    return {f"{prefix}/{path.name}": path for path in paths}


def _run(
    fleet: Fleet,
    pictures: dict[str, Path],
    others: dict[str, Path],
    rate: float,
    processes: Processes,
    metrics: RunMetrics,
    lag: LagWatch,
    idle: dict[str, float],
) -> tuple[Run, float, float]:
    steady = round(len(pictures) * STEADY_SHARE)
    parts = dict(islice(pictures.items(), steady)), dict(islice(pictures.items(), steady, None))
    _say(f"uploading {steady} at {rate:g} a second, then {len(pictures) - steady} as fast as {CLIENTS} clients can ...")
    before = indexed_count(fleet)
    start_lag = float(sum(lag.lags.values()))
    first = Moment.of(processes)
    began = first.at
    time.sleep(2.0)
    acknowledged = upload(fleet.s3, BUCKET, parts[0], metrics, rate=rate)
    time.sleep(QUIET_SECONDS)
    burst = Moment.of(processes)
    acknowledged |= upload(fleet.s3, BUCKET, parts[1], metrics)
    _say("all uploaded; waiting for the index ...")
    problems = []
    try:
        wait_until(
            lambda: indexed_count(fleet) >= before + len(pictures),
            "every image indexed",
            patience=DRAIN_PATIENCE,
        )
        wait_until(lambda: not any(lag.lags.values()), "every commit", patience=30)
    except StackError as error:
        problems.append(str(error))
    drained = Moment.of(processes)
    drained_at = drained.at - began
    not_ours = drained.usage[OTHERS].cpu - first.usage[OTHERS].cpu
    time.sleep(QUIET_SECONDS)
    ended = time.time()
    _say("comparing bucket and index, and searching ...")
    verdict = verify(fleet, pictures | others, every=SEARCH_EVERY)
    told = journeys(images(fleet, "load/"))
    order = [key for key in sorted(acknowledged, key=acknowledged.__getitem__) if key in told]
    run = Run(
        images=len(pictures),
        steady_images=steady,
        burst_at=round(burst.at - began, 2),
        uploaded=[round(acknowledged[key] - began, 3) for key in order],
        indexed=[round(told[key]["indexed"] - began, 3) for key in order],
        lag_looks=[(round(at - began, 2), lags["image-events"]) for at, lags in lag.looks if began <= at <= ended],
        others_by_second=[],
        others_cores=round(not_ours / drained_at, 3),
        drained_at=round(drained_at, 2),
        steady_cpu=round(sum(first.spent(burst, idle).values()), 3),
        full_cores=0.0,
        burst_cpu=round(sum(burst.spent(drained, idle).values()), 3),
        searched=verdict.searched,
        start_lag=start_lag,
        problems=problems + verdict.problems,
        topic_bytes={},
        index_bytes=0.0,
    )
    return run, began, ended


def _others(processors: list[Series]) -> list[float]:
    return next((series.values for series in processors if series.label == OTHERS), [])


def _full_cores(processors: list[Series], run: Run) -> float:
    # What each second shows is the mean of those before it, and the first images take a while to reach the embedder.
    begin, end = run.burst_at + FILLED_AFTER, max(run.uploaded, default=0.0)
    totals: dict[float, float] = defaultdict(float)
    for series in processors:
        for at, cores in zip(series.times, series.values, strict=True):
            if begin <= at <= end:
                totals[at] += cores
    # A burst that is over sooner shows nothing.
    return round(fmean(totals.values()), 3) if totals else float(psutil.cpu_count() or 1)


def _scrapes(prometheus: Prometheus, began: float, ended: float) -> list[str]:
    failed = prometheus.at(f"1 - avg by (process) (avg_over_time(up[{ended - began:.0f}s])) > {SCRAPES_MISSED}", ended)
    return [
        f"{one['metric']['process']} could not be scraped {float(one['value'][1]):.0%} of the time" for one in failed
    ]


def _sizes(folder: Path, lag: LagWatch) -> dict[str, object]:
    # Records lie in the log as they were sent: batches of one or a few, without compression.
    logs = folder / "kafka" / "data"
    topics = {
        topic: round(sum(file.stat().st_size for file in logs.glob(f"{topic}-*/*.log")) / max(1, records), 1)
        for topic, records in lag.ends.items()
    }
    # The index's files are made large and filled later: what counts is the blocks that they take. Its log of changes
    # has a bound of its own.
    files = [file for file in (folder / "indexer" / "index").rglob("*") if file.is_file() and "wal" not in file.parts]
    blocks = sum(file.stat().st_blocks for file in files)
    return {"topic_bytes": topics, "index_bytes": round(512 * blocks / lag.ends["image-embeddings"], 1)}


def _setup(arguments: argparse.Namespace, pictures: dict[str, Path]) -> Setup:
    settings = Settings()
    return Setup(
        model=arguments.model,
        partitions=settings.kafka.partitions,
        consumers=settings.encoder.consumers,
        batch_records=settings.kafka.batch_records,
        forward_images=settings.encoder.batch_size,
        clients=CLIENTS,
        steady_rate=arguments.rate,
        picture_bytes=round(sum(path.stat().st_size for path in pictures.values()) / len(pictures)),
    )


def _machine() -> Machine:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return Machine(
        date=datetime.now(UTC).date().isoformat(),
        processor=named[0] if named else platform.processor(),
        cores=len(psutil.Process().cpu_affinity() or []) or os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        versions={"python": platform.python_version(), "torch": version("torch")},
    )


def _say(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
