"""The fleets and the scenarios that docs/scale.md shows."""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.simulation.autoscaler import ScalingTerms
from benchmarks.simulation.scenarios import Fleet, Scenario
from benchmarks.sizing.assumptions import EmbedderKind

CPU_START = 60.0
"""A pod on a node that is there, its image too: scheduling, and 10 to 35 s until it is ready (docs/load.md)."""
GPU_START = 240.0
"""A node with a card has to come, an image with CUDA, and 1.7 GB of weights."""

SCENARIOS = (
    Scenario(name="three times the mean for 15 minutes", rise=3.0, rise_seconds=900.0, lasts=1800.0),
    Scenario(name="20 minutes' images within one", at_once=1200.0, lasts=1800.0),
    Scenario(name="one embedder dies", dies=True, lasts=300.0),
)


def fleets(kinds: Sequence[EmbedderKind]) -> list[Fleet]:
    """A small fleet that scales late and one as deploy/k8s has it, set for freshness, a larger one, and a large one.

    In the last a pod counts as one consumer of four times the batch, for the simulation's own speed.
    """
    cpu = next(kind for kind in kinds if kind.name == "2 processors")
    card = next(kind for kind in kinds if kind.title == "ViT-L-14 on A100")
    return [
        _fleet(
            "1 M a day, one at least, 500 hints a pod", 1e6, cpu, 48,
            ScalingTerms(lag_a_pod=500, most=12, pod_start=CPU_START),
        ),
        _fleet(
            "1 M a day, as deploy/k8s/base scales", 1e6, cpu, 48,
            ScalingTerms(lag_a_pod=50, least=2, most=12, pod_start=CPU_START),
        ),
        _fleet(
            "100 M a day, six A100 at least", 1e8, card, 96,
            ScalingTerms(lag_a_pod=3000, least=6, most=24, pod_start=GPU_START),
        ),
        _fleet(
            "1 B a day, 54 A100 at least", 1e9, replace(card, consumers=1), 240,
            ScalingTerms(lag_a_pod=3000, least=54, most=240, pod_start=GPU_START), batch_records=256,
        ),
    ]  # fmt: skip


def _fleet(
    name: str, a_day: float, kind: EmbedderKind, partitions: int, scaling: ScalingTerms, *, batch_records: int = 64
) -> Fleet:
    return Fleet(
        name=name,
        mean=a_day / 86_400,
        rate=kind.rate,
        lanes=kind.consumers,
        batch_records=batch_records,
        partitions=partitions,
        pods=scaling.least,
        scaling=scaling,
    )
