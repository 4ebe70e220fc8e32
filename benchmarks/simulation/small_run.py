"""The load run of docs/load.md once more, in the simulation, from rates that were measured before it.

What goes in of the run itself is when the uploads were acknowledged, what other programs used of the machine
meanwhile, how many core-seconds its two parts cost altogether, and how many processors could be used at once: the
machine may be another one then than it was before. Three processes, servers and clients share it: each stage has its
core-seconds an image, and all share what is left.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.load.record import Calibration, Measured, Setup
from benchmarks.simulation.consumers import StageRates, Steps
from benchmarks.simulation.pipeline import Pipeline, Results
from benchmarks.simulation.processor import Processor

INDEXER = "indexer and search"
LATEST = 1200.0
EMBEDDER_CORES = 2.0
"""A batch is fetched, decoded and embedded by several threads."""


@dataclass(frozen=True)
class Compared:
    """A figure of the run and of its simulation."""

    name: str
    unit: str
    measured: float
    simulated: float

    @property
    def off(self) -> float:
        """The difference as a share of what was measured."""
        return abs(self.simulated - self.measured) / self.measured


def stage_rates(calibration: Calibration, setup: Setup) -> list[StageRates]:
    """What ingest, embedder and indexer take, by the calibration alone."""
    lone, phases = calibration.lone_seconds, calibration.lone_phases
    upload, drain = calibration.upload_cpu, calibration.drain_cpu
    # Reading the object and Kafka's part are done for the embedder.
    works = {"ingest": upload["ingest"], "embedder": sum(drain.values()) - drain[INDEXER], "indexer": drain[INDEXER]}
    published = {"ingest": 0.0, "embedder": phases["ingest publish"], "indexer": phases["embedder publish"]}
    # The index notes the time before it writes, ingest before it publishes: neither is in its own stage's seconds.
    worked = {"ingest": 0.0, "embedder": works["embedder"] / EMBEDDER_CORES, "indexer": 0.0}
    return [
        StageRates(
            name=name,
            lanes=setup.consumers if name == "embedder" else 1,
            batch_records=setup.batch_records,
            # What a lone image takes beyond its work is what a batch takes beyond those of its images.
            waits=tuple(max(0.0, seconds - published[name] - worked[name]) for seconds in lone[name]),
            batch_work=0.0,
            image_work=works[name],
            publish=phases.get(f"{name} publish", 0.0),
            commit=phases[f"{name} commit"],
            most_cores=EMBEDDER_CORES if name == "embedder" else 1.0,
        )
        for name in ("ingest", "embedder", "indexer")
    ]


def slower(measured: Measured) -> tuple[float, float]:
    """How many times the core-seconds of the calibration an image cost in the steady part, and in the burst.

    A processor whose clock and caches are shared with other machines does the same work in more or fewer seconds.
    """
    calibration, run = measured.calibration, measured.run
    full = sum(calibration.upload_cpu.values()) + sum(calibration.drain_cpu.values())
    return (
        run.steady_cpu / (run.steady_images * sum(calibration.lone_cpu.values())),
        run.burst_cpu / ((run.images - run.steady_images) * full),
    )


def simulate(measured: Measured) -> Results:
    """The run, from its uploads, what it cost, and the calibration."""
    calibration, setup = _at_the_speed_of_the_run(measured), measured.setup
    uploads = sorted(measured.run.uploaded)
    topics = [
        ("bucket-notifications", setup.partitions // 2),
        ("image-events", setup.partitions),
        ("image-embeddings", setup.partitions),
    ]
    pipeline = Pipeline(stage_rates(calibration, setup), topics, seed=1)
    idle = sum(calibration.idle_cores.values())
    cores = measured.run.full_cores - idle
    # The engine decodes and embeds what its consumers hand to it in the order in which it came.
    limits = {"embedder": _embedder_cores(calibration)}
    machine = Processor(pipeline.env, cores, limits, in_order=("embedder",))
    pipeline.start([[machine]] * 3)
    pipeline.arrive((at, 1) for at in uploads)
    upload_work = sum(calibration.upload_cpu.values()) - calibration.upload_cpu["ingest"]
    a_second = Counter(int(at) for at in uploads)

    def uploading() -> Steps:
        second = 0
        while second <= max(int(uploads[-1]) + 1, len(measured.run.others_by_second)):
            others = measured.run.others_by_second[second : second + 1] or [0.0]
            machine.resize(cores - upload_work * a_second[second] - others[0])
            yield pipeline.env.timeout(1.0)
            second += 1

    pipeline.env.process(uploading())
    pipeline.watch(0.1)

    def over() -> bool:
        return pipeline.topics[-1].committed >= len(uploads) or pipeline.env.now > LATEST

    return pipeline.run(when=over)


def _at_the_speed_of_the_run(measured: Measured) -> Calibration:
    one = measured.calibration
    steady, burst = slower(measured)

    def longer(costs: Mapping[str, float], factor: float) -> dict[str, float]:
        return {name: cost * factor for name, cost in costs.items()}

    return one.model_copy(
        update={
            "lone_seconds": {
                name: [steady * lasted for lasted in seconds] for name, seconds in one.lone_seconds.items()
            },
            "lone_phases": longer(one.lone_phases, steady),
            "upload_cpu": longer(one.upload_cpu, burst),
            "drain_cpu": longer(one.drain_cpu, burst),
        }
    )


def _embedder_cores(calibration: Calibration) -> float:
    """What the embedder's batches can use together: what was in use in the drain, less what was not theirs."""
    drain = calibration.drain_cpu
    own = 1 - drain[INDEXER] / sum(drain.values())
    return own * (calibration.drain_cores - sum(calibration.idle_cores.values()))


def compare(measured: Measured, results: Results) -> list[Compared]:
    """Drain, lag and freshness of both. An image is searchable when the index has answered."""
    run = measured.run
    write = measured.calibration.lone_phases["indexer process"]
    ages = list(zip(run.uploaded, [at + write for at in run.indexed], strict=True))
    steady = sorted(done - born for born, done in ages if born < run.burst_at)
    burst = sorted(done - born for born, done in ages if born >= run.burst_at)
    compared = [
        Compared("from the burst's begin to the last image searchable", "s",
                 max(done for _, done in ages) - run.burst_at, results.last - run.burst_at),
        Compared("most records waiting for the embedder", "records", *_peaks(measured, results)),
    ]  # fmt: skip
    for name, ages_of, span in (("steady", steady, (0.0, run.burst_at)), ("burst", burst, (run.burst_at, 1e9))):
        compared += [
            Compared(
                f"freshness p{100 * share:g}, {name}", "s", _quantile(ages_of, share), results.freshness(share, span)
            )
            for share in (0.5, 0.9, 0.99)
        ]
    return compared


def lag_curves(measured: Measured, results: Results) -> list[tuple[float, float, float]]:
    """Times, the records that waited for the embedder, and how many waited at these times in the simulation."""
    lags = results.lags["image-events"]
    curves = []
    for at, lag in measured.run.lag_looks:
        after = bisect_left(results.looks, at)
        curves.append((at, float(lag), float(lags[after]) if after < len(lags) else 0.0))
    return curves


def lag_off(measured: Measured, results: Results) -> float:
    """The area between the two lag curves, as a share of the area under the measured one."""
    curves = lag_curves(measured, results)
    return sum(abs(real - simulated) for _, real, simulated in curves) / sum(real for _, real, _ in curves)


def _peaks(measured: Measured, results: Results) -> tuple[float, float]:
    curves = lag_curves(measured, results)
    return max(real for _, real, _ in curves), max(simulated for _, _, simulated in curves)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
