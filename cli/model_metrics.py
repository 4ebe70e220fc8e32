"""What /metrics tells of the model that a process has loaded, and of the card that it computes on."""

import math
from enum import StrEnum
from functools import partial

from prometheus_client import CollectorRegistry

from encoders import accelerator
from encoders.engine import EncoderEngine
from runtime.log import Log
from runtime.metric import Metric, MetricKind
from runtime.metrics import MODEL_INFO
from runtime.probes import Probes


class MemoryKind(StrEnum):
    """Which memory of a card."""

    ALLOCATED = "allocated"
    RESERVED = "reserved"
    USED = "used"
    TOTAL = "total"


MEMORY = Metric(
    name="sightline_accelerator_memory_bytes",
    kind=MetricKind.GAUGE,
    labels=("kind",),
    sentence="Bytes of the card's memory: allocated for this process's tensors, reserved by torch for them, used by "
    "all processes together, and total; only where there is a card. Reserved alone near total is no trouble: torch "
    "keeps what it once had. Used less reserved is what others hold: give the model a card of its own. Allocated near "
    "what they leave: lower SIGHTLINE_ENCODER__BATCH_SIZE.",
)
UTILIZATION = Metric(
    name="sightline_accelerator_utilization_ratio",
    kind=MetricKind.GAUGE,
    sentence="Share of the last moment in which the card computed, by NVIDIA's library; only where there is such a "
    "card. Low under load: decode or the store is slow.",
)


PATIENCE = 2.0
"""So many times what the warm-up promises may a pass take: decoding shares the processors with it later."""


def watch_model(engine: EncoderEngine, registry: CollectorRegistry, probes: Probes, log: Log) -> None:
    """Show an entered engine's model in a process's metrics, and have its probes watch what its threads do. Once."""
    show_model(engine, registry)
    watch_work(engine, probes, log)


def watch_work(engine: EncoderEngine, probes: Probes, log: Log) -> None:
    """Have the probes watch an entered engine's threads, with patience for a model whose full batches are slow."""
    probes.work("the model", engine.work)
    seconds = engine.full_batch_seconds
    if seconds is not None and probes.allow(PATIENCE * seconds):
        log.warning(
            "slow_model",
            f"a full batch takes {engine.identity.model} on {engine.encoder.device} about {seconds:.0f} s, so /livez "
            f"lets work stand still for {PATIENCE * seconds:.0f} s, more than SIGHTLINE_PROBES__STALL_SECONDS says; a "
            "smaller SIGHTLINE_ENCODER__BATCH_SIZE has a hang found sooner",
        )


def show_model(engine: EncoderEngine, registry: CollectorRegistry) -> None:
    """Show an entered engine's model, and its card where it has one. Once for each registry."""
    identity, device = engine.identity, engine.encoder.device
    dtype = identity.fingerprint.rpartition("-")[2]
    MODEL_INFO.gauge(registry).labels(identity.model, identity.fingerprint, device, dtype).set(1)
    if accelerator.memory(device) is None:
        return
    memory = MEMORY.gauge(registry)
    for kind in MemoryKind:
        memory.labels(kind.value).set_function(partial(_memory, device, kind))
    if accelerator.utilization(device) is not None:
        UTILIZATION.gauge(registry).set_function(lambda: _or_nan(accelerator.utilization(device)))


def _memory(device: str, kind: MemoryKind) -> float:
    return (accelerator.memory(device) or {}).get(kind.value, math.nan)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
