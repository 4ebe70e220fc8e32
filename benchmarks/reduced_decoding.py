"""What it costs in fidelity to decode large JPEGs at a reduced scale: `python -m benchmarks.reduced_decoding`.

For pictures of 12 megapixels, from what cameras take to what no reduction can keep: the cosine between the vectors of
the full and the reduced picture, with and without the mean of all, and the milliseconds of decoding and preparing one;
for the reduction in use and for one that keeps twice as much.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from encoders.encoder import Encoder
from encoders.registry import make_encoder
from imaging.decode import decode
from imaging.samples import SCENES

SIZE = (4000, 3000)
MAX_PIXELS = 50_000_000
SCALES = {"reduced": 1, "keeping twice as much": 2}
RUNS = 5


def _scene() -> Image.Image:
    return SCENES["mountains"](np.random.default_rng(1), *SIZE)


def _slopes() -> Image.Image:
    rng, total = np.random.default_rng(2), np.zeros((SIZE[1], SIZE[0], 3))
    for side in (8, 32, 128, 512):
        small = rng.integers(0, 256, (SIZE[1] // side + 2, SIZE[0] // side + 2, 3), dtype=np.uint8)
        total += side**0.5 * np.asarray(Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC))
    low, high = total.min(), total.max()
    return Image.fromarray(((total - low) / (high - low) * 255).astype(np.uint8))


def _text() -> Image.Image:
    page = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(page)
    for y in range(0, SIZE[1], 18):
        draw.text((5, y), "The quick brown fox jumps over the lazy dog 0123456789 " * 14, fill="black")
    return page


def _noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8))


def _stripes() -> Image.Image:
    page = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(page)
    for x in range(-300, SIZE[0], 14):
        draw.line((x, 0, x + 300, SIZE[1]), fill=(200, 0, 0), width=4)
    return page


PICTURES: Mapping[str, Callable[[], Image.Image]] = {
    "a landscape": _scene,
    "slopes and grain": _slopes,
    "a page of small print": _text,
    "noise": _noise,
    "fine stripes": _stripes,
}


def _compared(encoder: Encoder, data: bytes) -> tuple[NDArray[np.float32], list[float]]:
    """The vectors of the full picture and of each reduced one, and the milliseconds to get them ready."""
    prepared, took = [], []
    for keep in (None, *SCALES.values()):
        at_least = None if keep is None or encoder.target_size is None else keep * encoder.target_size
        times = []
        for _ in range(RUNS):
            began = time.perf_counter()
            ready = encoder.prepare(decode(data, max_pixels=MAX_PIXELS, at_least=at_least).image)
            times.append(1e3 * (time.perf_counter() - began))
        prepared.append(ready)
        took.append(statistics.median(times))
    return encoder.forward(prepared), took


def main() -> None:
    """Parse the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32/random")
    encoder = make_encoder(parser.parse_args().model, device="cpu")
    encoder.load()
    every, took = [], []
    for draw in PICTURES.values():
        file = io.BytesIO()
        draw().save(file, "JPEG", quality=90)
        vectors, milliseconds = _compared(encoder, file.getvalue())
        every.append(vectors)
        took.append(milliseconds)
    mean = np.mean([vectors[0] for vectors in every], axis=0)
    print(f"{encoder.identity.model}: cosine with the full picture's vector, and without the mean")
    for name, vectors, milliseconds in zip(PICTURES, every, took, strict=True):
        print(f"{name} (full: {milliseconds[0]:.0f} ms)")
        for number, scale in enumerate(SCALES, 1):
            full, reduced = vectors[0] - mean, vectors[number] - mean
            centred = float(full @ reduced / np.linalg.norm(full) / np.linalg.norm(reduced))
            cosine = float(vectors[0] @ vectors[number])
            print(f"    {scale:22} {cosine:.5f}  {centred:.5f}  {milliseconds[number]:4.0f} ms")


if __name__ == "__main__":
    main()
