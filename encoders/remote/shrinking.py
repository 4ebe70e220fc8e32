"""A picture as a small JPEG: fewer pixels first, then less quality, then fewer pixels still."""

import io

import numpy as np
from PIL import Image

LONGEST = 4
"""The longer side is at most so many times what the shorter may be, so that panoramas stay small too."""
QUALITIES = (90, 80, 70, 60, 50)
REVISION = 1
"""Raised with every change that moves vectors, so that the fingerprint changes with them."""


def shrunk(image: Image.Image, *, side: int, max_bytes: int) -> bytes:
    """A JPEG of at most `max_bytes` bytes, whose shorter side has at most `side` pixels. Carries no metadata.

    `image` is RGB and upright. Models look at 224 to 512 pixels of the shorter side, so this costs them little.
    """
    scale = min(1.0, side / min(image.size), LONGEST * side / max(image.size))
    picture = _scaled(image, scale) if scale < 1 else image
    while True:
        for quality in QUALITIES:
            data = _jpeg(picture, quality)
            if len(data) <= max_bytes or max(picture.size) == 1:
                return data
        picture = _scaled(picture, 0.7)


def control_picture() -> Image.Image:
    """256 x 192 pixels that any model takes: what a service must answer before it may blame another picture."""
    down, across = np.mgrid[0:192, 0:256]
    disc = (down - 96) ** 2 + (across - 128) ** 2 < 60**2
    pixels = np.stack([across, 255 - down, np.where(disc, 220, 60)], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    # Pillow would copy the original's comment.
    image.save(buffer, "JPEG", quality=quality, comment=b"", exif=b"")
    return buffer.getvalue()
