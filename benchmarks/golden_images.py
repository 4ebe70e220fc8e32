"""Draws the golden images of `encoders.canary`: `python -m benchmarks.golden_images FOLDER`.

What counts are the bytes in encoders/golden, which are never drawn again: another Pillow would write others. An image
that must change gets a new name, since collections keep the vectors of the old one under its name.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.ExifTags import Base

from imaging.samples import SCENES


def photo() -> Image.Image:
    """1200 x 900 pixels: smooth slopes, hard edges, and a patch of fine lines that every resampling treats its own way.

    Large enough that models of up to 224 pixels have it decoded at a reduced scale.
    """
    image = SCENES["mountains"](np.random.default_rng(41), 1200, 900)
    draw = ImageDraw.Draw(image)
    draw.ellipse((820, 80, 1000, 260), fill=(245, 205, 60))
    draw.regular_polygon((300, 620, 170), 3, fill=(205, 40, 50))
    for x in range(660, 1080, 7):
        draw.line((x, 540, x + 60, 780), fill=(25, 80, 165), width=2)
    return image


def drawing() -> Image.Image:
    """320 x 240 pixels whose alpha fades from nothing to full, over shapes of strong colours."""
    image = SCENES["shapes"](np.random.default_rng(43), 320, 240).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def main() -> None:
    """Draw them into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    # As a camera that was held upright stores it: turned by a quarter, with a note to turn back.
    turned = photo().transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "photo.jpg", quality=80, subsampling=2, progressive=True, optimize=True, exif=exif.tobytes())
    drawing().save(folder / "drawing.png", optimize=True)


if __name__ == "__main__":
    main()
