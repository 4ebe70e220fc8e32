"""Image files as the world has them, each with the upright RGB picture that plain Pillow makes of it."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from imaging.samples import SCENES, draw_scene


@dataclass(frozen=True)
class OddImage:
    """`picture` is what open_clip's own path is given; Sightline gets `data`."""

    name: str
    data: bytes
    picture: Image.Image


def odd_images() -> Iterator[OddImage]:
    """The corpus, the same every time."""
    jpegs: dict[str, dict[str, object]] = {
        "4:2:0": {"subsampling": "4:2:0", "quality": 80},
        "4:4:4": {"subsampling": "4:4:4", "quality": 95},
        "4:2:2 of little quality": {"subsampling": "4:2:2", "quality": 12},
        "progressive": {"progressive": True, "quality": 75},
    }
    for name, options in jpegs.items():
        yield _file(f"jpeg {name}", _scene(len(name)), "JPEG", _plain, **options)
    # So large that it is decoded at a reduced scale.
    yield _file("jpeg of 12 megapixels", _scene(17, 4000, 3000), "JPEG", _plain, quality=85)
    yield _file("jpeg cmyk", _scene(4).convert("CMYK"), "JPEG", _plain)
    yield _file("jpeg grey", _scene(5).convert("L"), "JPEG", _plain)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield _file(f"jpeg turned {orientation}", _scene(6, 300, 200), "JPEG", _plain, exif=exif)
    yield _file("png of 16 bits", _deep(240, 180), "PNG", _from_16_bits)
    yield _file("png with a palette", _scene(7).quantize(64), "PNG", _plain)
    yield _file("png with a clear colour", _scene(8).quantize(16), "PNG", _on_white, transparency=3)
    yield _file("png with alpha", _veiled(_scene(9)), "PNG", _on_white)
    yield _file("png grey with alpha", _veiled(_scene(10)).convert("LA"), "PNG", _on_white)
    yield _file("webp", _scene(11), "WEBP", _plain, quality=70)
    yield _file("gif", _scene(12), "GIF", _plain)
    yield _file("1 x 1", Image.new("RGB", (1, 1), (200, 30, 90)), "PNG", _plain)
    yield _file("2 x 3", _scene(13, 64, 96).resize((2, 3)), "PNG", _plain)
    yield _file("very wide", _scene(14, 2400, 90), "JPEG", _plain)
    yield _file("very tall", _scene(15, 70, 2000), "PNG", _plain)
    yield _file("wider than can be believed", _scene(16, 4000, 64).resize((4000, 40)), "PNG", _plain)


def _file(
    name: str, image: Image.Image, kind: str, read: Callable[[Image.Image], Image.Image], **options: object
) -> OddImage:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return OddImage(name, file.getvalue(), read(Image.open(io.BytesIO(file.getvalue()))))


def _scene(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    return draw_scene(sorted(SCENES)[seed % len(SCENES)], width, height, seed=seed)


def _deep(width: int, height: int) -> Image.Image:
    across, down = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 2, height))
    return Image.fromarray(((np.sin(across * down) + 1) * 32767).astype(np.uint16))


def _veiled(image: Image.Image) -> Image.Image:
    veil = Image.linear_gradient("L").resize(image.size)
    image.putalpha(veil)
    return image


def _plain(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
