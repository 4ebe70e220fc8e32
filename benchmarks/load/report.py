"""The figures of docs/load.md, and what a run says at its end."""

from collections.abc import Sequence

from benchmarks.blocks import ROOT, fill, table
from benchmarks.load.record import Measured, read_measured
from benchmarks.simulation.small_run import compare, lag_off, simulate

QUIET = 0.15
"""Processors that something else may use."""
PAGE = ROOT / "docs" / "load.md"


def write(measured: Measured) -> None:
    """Write the figures into the page."""
    fill(PAGE, {name: lambda made=made: made(measured) for name, made in BLOCKS.items()})  # type: ignore[misc]


def summary(measured: Measured) -> str:
    """A few lines for whoever started it."""
    run = measured.run
    lines = [
        f"{len(run.indexed):,} of {run.images:,} images indexed, {run.searched} searched for by their own picture",
        *(f"drained {run.drained_at - last:.1f} s after the last upload" for last in sorted(run.uploaded)[-1:]),
        *(f"{name}: {figure}" for name, figure in _freshness(measured)),
        f"processors that something else used meanwhile: {_others(measured)}"
        + (": too much for figures that others shall believe" if run.others_cores > QUIET else ""),
        *(f"PROBLEM: {problem}" for problem in run.problems),
    ]
    return "\n".join(lines)


def machine(measured: Measured) -> str:
    """Where, when and with what."""
    one, setup, versions = measured.machine, measured.setup, measured.machine.versions
    return (
        f"Measured on {one.date}: {one.processor}, {one.cores} processors, {one.memory_gb:.0f} GB, no GPU; Python "
        f"{versions['python']}, torch {versions['torch']}; `{setup.model}`, {setup.partitions} partitions, "
        f"{setup.consumers} consumers in the embedder, batches of {setup.batch_records} records at most."
    )


def figures(measured: Measured) -> str:
    """What came out."""
    run, setup, calibration = measured.run, measured.setup, measured.calibration
    burst = run.images - run.steady_images
    uploading = max(run.uploaded) - run.burst_at
    rows = [
        ["images uploaded, indexed, lost", f"{run.images:,}, {len(run.indexed):,}, {run.images - len(run.indexed):,}"],
        ["of these found by a search with their own picture", f"{run.searched} of {run.searched} asked"],
        ["size of a picture", f"{setup.picture_bytes / 1e3:.0f} kB"],
        ["steady part", f"{run.steady_images:,} images at {setup.steady_rate:g} a second"],
        ["burst", f"{burst:,} images in {uploading:.0f} s, {burst / uploading:.0f} a second"],
        ["from the last upload to the last image indexed", f"{max(run.indexed) - max(run.uploaded):.1f} s"],
        *([name, figure] for name, figure in _freshness(measured)),
        ["most records waiting for the embedder", f"{max(lag for _, lag in run.lag_looks):,}"],
        ["embedder alone, from a backlog (calibration)", f"{calibration.drain_rate:.0f} images a second"],
        ["processors that something else used meanwhile", _others(measured)],
        ["records in Kafka", ", ".join(f"{name} {size:,.0f} B" for name, size in run.topic_bytes.items())],
        ["index on disk", f"{run.index_bytes / 1e3:.1f} kB an image"],
    ]
    return table(["what", "figure"], rows, numbers_from=2)


def cpu(measured: Measured) -> str:
    """Milliseconds of processor time that an image costs each process."""
    one = measured.calibration
    names = [name for name in one.drain_cpu if name != "Prometheus"]
    rows = [
        [name, *(f"{1e3 * costs[name]:.1f}" for costs in (one.lone_cpu, one.upload_cpu, one.drain_cpu))]
        for name in names
    ]
    columns = (one.lone_cpu, one.upload_cpu, one.drain_cpu)
    rows.append(["together", *(f"{1e3 * sum(costs[name] for name in names):.1f}" for costs in columns)])
    return table(["process", "lone image, all of it", "upload to topic", "topic to index, full batches"], rows)


def simulated(measured: Measured) -> str:
    """The run beside its simulation."""
    results = simulate(measured)
    rows = [
        [one.name, f"{one.measured:,.2f} {one.unit}", f"{one.simulated:,.2f} {one.unit}", f"{one.off:.0%}"]
        for one in compare(measured, results)
    ]
    rows.append(["area between the curves of the embedder's lag", "", "", f"{lag_off(measured, results):.0%}"])
    return table(["what", "measured", "simulated", "off"], rows)


BLOCKS = {"machine": machine, "figures": figures, "cpu": cpu, "simulated": simulated}


def _others(measured: Measured) -> str:
    return f"{measured.run.others_cores:.2f} of {measured.machine.cores}"


def _freshness(measured: Measured) -> list[tuple[str, str]]:
    run = measured.run
    ages = [(born, done - born) for born, done in zip(run.uploaded, run.indexed, strict=True)]
    steady = sorted(age for born, age in ages if born < run.burst_at)
    burst = sorted(age for born, age in ages if born >= run.burst_at)
    return [
        (f"upload answered to indexed, {name}", f"p50 {_quantile(some, 0.5):.2f} s, p99 {_quantile(some, 0.99):.2f} s")
        for name, some in (("steady", steady), ("burst", burst))
    ]


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


if __name__ == "__main__":
    write(read_measured())
