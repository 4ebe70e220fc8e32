"""Images per second of Sightline against open_clip used directly, on this machine, in one run.

    python -m benchmarks.embed_throughput [--model ViT-B-32/random] [--rounds 3] [--web 200] [--camera 20]

Everything is measured in turns, round by round, and ratios are taken within a round: whatever else the machine does
falls on all alike. The figures that count are the medians over the rounds.
"""

import argparse
import asyncio
import io
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from benchmarks.photographs import Photographs, make_photographs
from benchmarks.pipeline import run_pipeline, write_folder
from encoders.encoder import Encoder
from encoders.engine import BatchReport, EncoderEngine
from encoders.registry import make_encoder
from imaging.decode import decode

MAX_PIXELS = 100_000_000
BARE_BATCH = 32
GOAL_OF_BARE, GOAL_OF_LOOP = 0.85, 2.0


@dataclass
class Round:
    """Images per second."""

    bare: float
    loop: float
    ours: float
    """The embedded pipeline, from a folder to points in the index."""
    engine: float
    """Our engine alone, from bytes in memory to vectors."""
    waiting: float
    """Share of the pipeline's time in which the model stood idle while images were on their way."""
    growth: int
    """Bytes of memory at the pipeline's peak beyond weights and libraries."""


@dataclass
class Reference:
    """open_clip as its own documentation uses it."""

    model: Any
    transform: Callable[[Image.Image], torch.Tensor]

    def bare(self, batch: torch.Tensor, passes: int) -> float:
        """Images per second of the batched forward pass alone, on tensors that lie ready."""
        with torch.inference_mode():
            began = time.perf_counter()
            for _ in range(passes):
                self.model.encode_image(batch, normalize=True)
            return passes * len(batch) / (time.perf_counter() - began)

    def loop(self, files: list[bytes]) -> float:
        """Images per second of opening, preprocessing and embedding one image at a time."""
        with torch.inference_mode():
            began = time.perf_counter()
            for data in files:
                image = Image.open(io.BytesIO(data)).convert("RGB")
                self.model.encode_image(self.transform(image).unsqueeze(0), normalize=True)
            return len(files) / (time.perf_counter() - began)


def load_reference(name: str) -> Reference:
    """The same weights as ours: the same seed, or the same tag."""
    architecture, _, tag = name.partition("/")
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(architecture, None if tag == "random" else tag)
    return Reference(model.eval(), transform)


@dataclass
class EngineRun:
    """Ours, from bytes in memory to vectors: images per second and what the batches said."""

    speed: float = 0.0
    reports: list[BatchReport] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def waiting(self) -> float:
        """Share of the time in which the model stood idle for decoding."""
        return sum(report.waited for report in self.reports) / self.seconds

    @property
    def forward(self) -> float:
        """Images per second of the forward passes alone."""
        return sum(report.images for report in self.reports) / sum(report.forward for report in self.reports)


async def run_engine(engine: EncoderEngine, files: list[bytes], reports: list[BatchReport]) -> EngineRun:
    """All files through the engine at once, as several consumers would send them."""
    reports.clear()
    began = time.perf_counter()
    await asyncio.gather(*(engine.embed_image(data) for data in files))
    seconds = time.perf_counter() - began
    return EngineRun(len(files) / seconds, list(reports), seconds)


async def measure(model: str, photographs: Photographs, rounds: int) -> None:
    """Run and print everything."""
    reference = load_reference(model)
    pixels = [reference.transform(decode(one, max_pixels=MAX_PIXELS).image) for one in photographs.web[:BARE_BATCH]]
    batch = torch.stack(pixels)
    encoder = make_encoder(model)
    reports: list[BatchReport] = []
    with tempfile.TemporaryDirectory(prefix="sightline-bench-") as place:
        folder = Path(place) / "photographs"
        write_folder(folder, photographs.all)
        await _measure(reference, batch, model, encoder, photographs, rounds, folder, reports)
    _fidelity(encoder, photographs)


async def _measure(
    reference: Reference,
    batch: torch.Tensor,
    model: str,
    encoder: Encoder,
    photographs: Photographs,
    rounds: int,
    folder: Path,
    reports: list[BatchReport],
) -> None:
    async with EncoderEngine(encoder, batch_size=BARE_BATCH, on_batch=reports.append) as engine:
        warm = engine.warm_up
        assert warm is not None
        print(
            f"{encoder.identity.model} on {encoder.device}, {torch.get_num_threads()} threads; warm-up: "
            f"prepare {1e3 * warm.prepare:.1f} ms an image, forward {1e3 * warm.forward:.0f} ms and "
            f"finish {1e3 * warm.finish:.1f} ms for {warm.images}"
        )
        reference.bare(batch, 1)
        measured: list[Round] = []
        few = photographs.sample(5).all
        for number in range(rounds):
            half = reference.bare(batch, 2)
            data_dir = folder.parent / f"data-{number}"
            ours = await run_pipeline(model, folder, data_dir)
            bare = statistics.harmonic_mean([half, reference.bare(batch, 2)])
            alone = await run_engine(engine, photographs.all, reports)
            loop = reference.loop(few)
            measured.append(Round(bare, loop, ours.speed, alone.speed, ours.waiting, ours.growth))
            print(
                f"round {number + 1}: pipeline {ours.speed:5.1f} img/s, engine alone {alone.speed:5.1f}, "
                f"bare forward {bare:5.1f}, one at a time {loop:5.1f}"
            )
        _summary(measured)


def _summary(rounds: list[Round]) -> None:
    of_bare = statistics.median(one.ours / one.bare for one in rounds)
    of_loop = statistics.median(one.ours / one.loop for one in rounds)
    ours = statistics.median(one.ours for one in rounds)
    print(f"\nembedded pipeline, folder to index  {ours:6.1f} img/s")
    print(f"  over the bare batched forward     {of_bare:6.2f}        {_verdict(of_bare, GOAL_OF_BARE)}")
    print(f"  over one image at a time          {of_loop:6.2f}        {_verdict(of_loop, GOAL_OF_LOOP)}")
    print(f"waiting for decode                  {statistics.median(one.waiting for one in rounds):6.1%} of the time")
    print(
        f"peak memory while embedding         {max(one.growth for one in rounds) / 1e6:6.0f} MB beyond weights and "
        "libraries"
    )


def _verdict(value: float, goal: float) -> str:
    return f"goal {goal:.2f} {'met' if value >= goal else 'MISSED'}"


def _fidelity(encoder: Encoder, photographs: Photographs) -> None:
    """The reduced decode of large photographs against the full one: cosine of the vectors, and milliseconds."""
    cosines, full_ms, reduced_ms = [], [], []
    for data in photographs.camera[:5]:
        began = time.perf_counter()
        full = decode(data, max_pixels=MAX_PIXELS).image
        between = time.perf_counter()
        reduced = decode(data, max_pixels=MAX_PIXELS, at_least=encoder.target_size).image
        ended = time.perf_counter()
        full_ms.append(1e3 * (between - began))
        reduced_ms.append(1e3 * (ended - between))
        vectors = encoder.forward([encoder.prepare(full), encoder.prepare(reduced)])
        cosines.append(float(np.dot(vectors[0], vectors[1])))
    if cosines:
        print(
            f"decode of 12 megapixels             {statistics.median(reduced_ms):6.0f} ms reduced, "
            f"{statistics.median(full_ms):.0f} ms full; cosine {min(cosines):.5f} at least"
        )


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32/random")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--web", type=int, default=200, help="photographs of 640 x 480 to 1024 x 768")
    parser.add_argument("--camera", type=int, default=20, help="photographs of 12 megapixels")
    arguments = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns that random weights are random
    began = time.perf_counter()
    photographs = make_photographs(arguments.web, arguments.camera)
    megabytes = sum(map(len, photographs.all)) / 1e6
    print(f"{len(photographs.all)} photographs, {megabytes:.0f} MB, drawn in {time.perf_counter() - began:.0f} s")
    asyncio.run(measure(arguments.model, photographs, arguments.rounds))


if __name__ == "__main__":
    main()
