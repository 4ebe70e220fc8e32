"""The embedded pipeline as a user runs it: a folder of files in, points in an index out."""

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.memory import PeakMemory
from cli.embedded import embedded_pipeline
from cli.one_pass import stages_running
from cli.parts import Parts
from runtime.settings import load_settings
from schemas.collection import Status
from services.ingest.reconcile import Guard
from stores.vectors import Where


@dataclass(frozen=True)
class PipelineRun:
    """Images per second from the first listing to the last point, and the share of it without work for the model."""

    speed: float
    waiting: float
    growth: int
    """Bytes of resident memory at the peak beyond those at rest with the model loaded."""


def write_folder(folder: Path, files: list[bytes]) -> None:
    """The files as a folder of photographs."""
    folder.mkdir(parents=True)
    for number, data in enumerate(files):
        (folder / f"{number:04}.jpg").write_bytes(data)


async def run_pipeline(model: str, folder: Path, data_dir: Path) -> PipelineRun:
    """Index a folder from nothing, with the default settings; loading the model is not counted."""
    environment = {"SIGHTLINE_ENCODER__MODEL": model, "SIGHTLINE_LOG_LEVEL": "ERROR"}
    parts = Parts.make(load_settings(environment, data_dir=data_dir), budget_stops=False)
    async with embedded_pipeline(parts, str(folder)) as pipeline, stages_running(pipeline):
        if pipeline.watch is not None:
            await pipeline.watch.started()
        with PeakMemory() as memory:
            began = time.perf_counter()
            report = await pipeline.reconciler(guard=Guard()).run()
            await pipeline.events.idle()
            await pipeline.embeddings.idle()
            seconds = time.perf_counter() - began
        indexed = await pipeline.index.count(Where(status=Status.INDEXED))
        if indexed != report.listed:
            raise RuntimeError(f"{indexed} of {report.listed} photographs were indexed; see the dead letters")
        starved = parts.registry.get_sample_value("sightline_forward_starved_seconds_total") or 0.0
    return PipelineRun(report.listed / seconds, starved / seconds, memory.growth)
