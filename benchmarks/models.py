"""What each model costs on this machine: images and texts a second, memory, dimension, as a Markdown table.

    python -m benchmarks.models [NAME ...] [--batch 16] [--seconds 10]

Without names: everything in the catalogue that runs here and fits into memory, one of each architecture. Weights that
are not on this machine are made up at random, which takes the same time and memory. Each model runs in a process of its
own. Images are drawn scenes of 640 x 480 pixels, decoded before the clock runs; preparing them (resize, crop) counts.
"""

import argparse
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from benchmarks.memory import most_resident
from encoders.catalogue import CATALOGUE, QWEN3, QWEN3_FOLDER, Model
from encoders.encoder import Encoder, Modality
from encoders.presence import Where, look_up, presence_of
from encoders.registry import make_encoder
from imaging.samples import SCENES, draw_scene

LARGE = 500_000_000
"""Parameters from which a quarter of the batch is enough to know the speed."""
ROOM = 3.2
"""Memory needed, over that of the weights in 32 bits: twice while they are loaded, and activations."""
QWEN3_ROOM = 1.1
"""The same for Qwen3, whose weights are read in 16 bits and widened one after the other."""
QWEN3_RANDOM = f"{QWEN3}/random"
QWEN3_BYTES = 8_100_000_000
"""On disk, in bfloat16."""


@dataclass(frozen=True)
class Measured:
    """One model. Speeds are per second, None for what the model does not take; memory in bytes."""

    name: str
    random: bool
    device: str
    dimension: int
    parameters: int
    batch: int
    images: float | None
    texts: float | None
    memory: int
    accelerator_memory: int
    preprocessing: str


def choose(names: Sequence[str]) -> list[str]:
    """The names as given, or one for each architecture of the catalogue; random weights where there are none."""
    chosen: dict[str, str] = {}
    for model in map(look_up, names) if names else CATALOGUE:
        here = presence_of(model).where in (Where.BUILT_IN, Where.ON_DISK)
        architecture, slash, _ = model.name.partition("/")
        if here or ((slash or model.name == QWEN3) and not model.is_remote):
            chosen.setdefault(
                architecture if not names else model.name, model.name if here else f"{architecture}/random"
            )
        elif names:
            print(f"{model.name}: left out, {presence_of(model).where.value}")
    return list(chosen.values())


def fits(name: str) -> bool:
    """Whether the machine has the memory now, and the disk for files that are made up."""
    architecture = name.partition("/")[0]
    known = [one.parameters or 0 for one in CATALOGUE if one.name.partition("/")[0] == architecture]
    needed = 4 * (QWEN3_ROOM if architecture == QWEN3 else ROOM) * max(known, default=0)
    available = _available()
    if needed > available:
        print(f"{name}: left out, it needs {needed / 1e9:.0f} GB of memory and there are {available / 1e9:.0f}")
    files = QWEN3_BYTES if name == QWEN3_RANDOM else 0
    disk = shutil.disk_usage(gettempdir()).free
    if files > disk:
        print(f"{name}: left out, its files take {files / 1e9:.0f} GB and {gettempdir()} has {disk / 1e9:.0f}")
    return needed <= available and files <= disk


def measure(name: str, batch: int, seconds: float) -> Measured:
    """Load and time one model in this process."""
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns that random weights are random
    captions = [f"a photograph of {n} boats on a lake in the evening" for n in range(batch)]
    with TemporaryDirectory(prefix="sightline-bench-") as made:
        if name == QWEN3_RANDOM:
            encoder = make_encoder(f"{QWEN3_FOLDER}{_stand_in_for_qwen3(Path(made), captions)}")
        else:
            encoder = make_encoder(name)
        if name.endswith("/random"):
            _stand_in_for_missing_tokenizers()
        encoder.load()
    parameters = _parameters(look_up(QWEN3 if name == QWEN3_RANDOM else name), encoder)
    batch = max(1, batch // 4) if parameters > LARGE else batch
    images = texts = None
    if encoder.modality is not Modality.WORDS:
        kinds = sorted(SCENES)
        pictures = [draw_scene(kinds[n % len(kinds)], 640, 480, seed=n) for n in range(batch)]
        images = _speed(lambda: encoder.forward([encoder.prepare(one) for one in pictures]), batch, seconds)
    if encoder.modality is not Modality.IMAGES:
        captions = captions[:batch]
        texts = _speed(lambda: encoder.encode_text(captions), batch, seconds)
    return Measured(
        name=name,
        random=name.endswith("/random"),
        device=encoder.device,
        dimension=encoder.identity.dimension,
        parameters=parameters,
        batch=batch,
        images=images,
        texts=texts,
        memory=most_resident(),
        accelerator_memory=_accelerator_memory(),
        preprocessing=getattr(encoder, "preprocessing", ""),
    )


def _accelerator_memory() -> int:
    # Only models that need torch have imported it; it takes half a gigabyte.
    torch = sys.modules.get("torch")
    return torch.cuda.max_memory_allocated() if torch is not None and torch.cuda.is_available() else 0


def _speed(work: Callable[[], Any], batch: int, seconds: float) -> float:
    work()
    passes, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        work()
        passes += 1
    return passes * batch / elapsed


def _parameters(model: Model, encoder: Encoder) -> int:
    if model.parameters is None and model.name.endswith("/random"):
        architecture = model.name.partition("/")[0]
        model = next((one for one in CATALOGUE if one.name.partition("/")[0] == architecture), model)
    known = presence_of(model).parameters if model.parameters is None else model.parameters
    if known is not None:
        return known
    inner = getattr(encoder, "_model", None)
    return sum(weight.numel() for weight in inner.parameters()) if inner is not None else 0


def _stand_in_for_qwen3(folder: Path, captions: Sequence[str]) -> Path:
    from benchmarks.qwen3_stand_in import write_files  # it imports torch, whose memory other models are not to be told

    return write_files(folder, [word for caption in captions for word in caption.split()])


def _stand_in_for_missing_tokenizers() -> None:
    """Token ids at random where a tokenizer is files from the hub: the text tower takes the same time."""
    import open_clip
    import torch

    import encoders.clip
    from encoders.tokenizer import Tokenizer, load_tokenizer
    from encoders.weights import Source

    def load(name: str, source: Source) -> Tokenizer:
        text = open_clip.get_model_config(source.architecture)["text_cfg"]
        if not text.get("hf_tokenizer_name"):
            return load_tokenizer(name, source)
        generator = torch.Generator().manual_seed(0)
        return lambda texts: torch.randint(
            0, text["vocab_size"], (len(texts), text["context_length"]), generator=generator
        )

    encoders.clip.load_tokenizer = load  # type: ignore[attr-defined]


def _in_a_process(name: str, batch: int, seconds: float) -> Measured | None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.models", name, "--inside", "--batch", str(batch), "--seconds", str(seconds)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        print(f"{name}: left out, {(done.stderr.strip().splitlines() or ['it was killed'])[-1]}")
        return None
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def print_table(measured: Sequence[Measured]) -> None:
    """As docs/models.md holds it."""
    print(f"\nMeasured on {date.today():%Y-%m-%d}: {machine()}.\n")
    on_accelerator = any(one.accelerator_memory for one in measured)
    heads = ["model", "dimension", "parameters", "images/s", "texts/s", "batch", "peak memory"]
    heads += ["accelerator memory"] if on_accelerator else []
    print("| " + " | ".join([*heads, "an image becomes"]) + " |")
    print("|---|" + "---:|" * (len(heads) - 1) + "---|")
    for one in measured:
        cells = [
            one.name.replace("/random", " †") if one.random else one.name,
            str(one.dimension),
            f"{one.parameters / 1e6:,.1f} M" if one.parameters else "none",
            _figure(one.images),
            _figure(one.texts),
            str(one.batch),
            f"{one.memory / 1e9:.2f} GB",
        ]
        cells += [f"{one.accelerator_memory / 1e9:.2f} GB"] if on_accelerator else []
        print("| " + " | ".join([*cells, one.preprocessing]) + " |")
    if any(one.random for one in measured):
        print("\n† with random weights, which take the same time and memory.")


def machine() -> str:
    """Processor, memory, accelerator and torch."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    import torch

    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{processor}, {os.cpu_count()} processors, {memory / 1e9:.0f} GB{accelerator}, torch {torch.__version__} with "
        f"{torch.get_num_threads()} threads"
    )


def _figure(speed: float | None) -> str:
    return "" if speed is None else f"{speed:,.0f}" if speed >= 20 else f"{speed:.1f}" if speed >= 1 else f"{speed:.2f}"


def _available() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        line = next(one for one in meminfo.read_text().splitlines() if one.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0, help="for images, and again for texts")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(asdict(measure(arguments.names[0], arguments.batch, arguments.seconds))))
        return
    measured = []
    for name in choose(arguments.names):
        if fits(name):
            print(f"{name} ...", flush=True)
            one = _in_a_process(name, arguments.batch, arguments.seconds)
            measured += [one] if one is not None else []
    print_table(measured)


if __name__ == "__main__":
    main()
