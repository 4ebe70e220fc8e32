"""How near versions of one picture are to each other, and how near different pictures come.

    python -m benchmarks.near_duplicates [--model sightline-small] [--images 1200]

The bounds of `services.search.ranking.folding` lie between the two.
"""

import argparse
import io
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from encoders.encoder import Encoder, Vectors
from encoders.registry import make_encoder
from imaging.sample_scenes import draw_sample_scenes

BATCH = 64


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS)


def _cropped(image: Image.Image, share: float) -> Image.Image:
    x, y = round(image.width * share), round(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


VERSIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 90": lambda image: _jpeg(image, 90),
    "JPEG, quality 50": lambda image: _jpeg(image, 50),
    "half the size": lambda image: _scaled(image, 0.5),
    "a third of the size, JPEG 70": lambda image: _jpeg(_scaled(image, 1 / 3), 70),
    "5 % cut off each side": lambda image: _cropped(image, 0.05),
    "15 % brighter": lambda image: image.point([min(255, round(level * 1.15)) for level in range(256)] * 3),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def vectors_of(encoder: Encoder, images: Sequence[Image.Image]) -> Vectors:
    """A vector of each image."""
    parts = [images[at : at + BATCH] for at in range(0, len(images), BATCH)]
    return np.concatenate([encoder.forward([encoder.prepare(one) for one in part]) for part in parts])


def main() -> None:
    """Draw, embed, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sightline-small")
    parser.add_argument("--images", type=int, default=1200)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    encoder = make_encoder(arguments.model)
    encoder.load()
    with tempfile.TemporaryDirectory() as folder:
        scenes = draw_sample_scenes(Path(folder), arguments.images, seed=5)
        images = [Image.open(scene.path).convert("RGB") for scene in scenes]
    vectors = vectors_of(encoder, images)
    pairs = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    some = len(images) // 4
    print("| cosine | least | 1 % | 10 % | median |\n|---|---|---|---|---|")
    for name, changed in VERSIONS.items():
        others = vectors_of(encoder, [changed(image) for image in images[:some]])
        shares = np.quantile((others * vectors[:some]).sum(axis=1), (0, 0.01, 0.1, 0.5))
        print(f"| {name} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    print(f"\n{len(pairs):,} pairs of different pictures: ", end="")
    for label, share in (("median", 0.5), ("1 in 1,000", 0.999), ("1 in 100,000", 0.99999), ("most", 1.0)):
        print(f"{label} {np.quantile(pairs, share):.3f}", end="  ")
    print()


if __name__ == "__main__":
    main()
