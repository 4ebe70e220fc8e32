"""Pictures drawn by code: scenes for the demo and the tests, photograph-like noise for the benchmark.

Everything follows from the seed, so two machines draw the same bytes (with the same Pillow).
"""

import colorsys
import io
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from PIL.ExifTags import IFD, Base

SIZES = ((320, 240), (240, 320), (480, 320), (400, 400), (512, 288))
_CAMERAS = (("Nordlicht", "Nordlicht N2"), ("Aurea", "Aurea 35"), ("Fernrohr", "F-100"))
_FIRST_DATE = datetime(2019, 3, 1, 9, 30)

Random = np.random.Generator
Colour = tuple[int, int, int]


def draw_samples(folder: Path, count: int, seed: int, *, sizes: tuple[tuple[int, int], ...] = SIZES) -> list[Path]:
    """Draw `count` scenes into `folder`, which is made if need be; about 5 ms each. Returns the paths in order.

    Two of three are JPEG, the others PNG; half of the JPEGs carry a date and a camera, some of these an EXIF
    orientation. Names tell what is drawn: `0007-sea.jpg`. No two look alike.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        kind = tuple(SCENES)[number % len(SCENES)]
        suffix, encode = encode_sample(number)
        path = folder / f"{number:04d}-{kind}{suffix}"
        image = draw_scene(kind, *sizes[number // 2 % len(sizes)], seed=seed * 1_000_003 + number)
        path.write_bytes(encode(image))
        paths.append(path)
    return paths


def draw_scene(kind: str, width: int, height: int, seed: int) -> Image.Image:
    """One scene: `kind` is a key of `SCENES`."""
    random = np.random.default_rng(seed)
    image = SCENES[kind](random, width, height)
    grain = random.integers(-6, 7, (height, width, 1), dtype=np.int16)
    return Image.fromarray(np.clip(np.asarray(image).astype(np.int16) + grain, 0, 255).astype(np.uint8))


def encode_sample(number: int) -> tuple[str, Callable[[Image.Image], bytes]]:
    """The suffix of sample `number` and what makes its bytes: two of three are JPEG, the others PNG.

    Half of the JPEGs carry a date and a camera, some of these an EXIF orientation.
    """
    if number % 3 == 2:
        return ".png", _png
    return ".jpg", lambda image: _jpeg(image, number)


def write_broken(folder: Path, seed: int = 0) -> list[Path]:
    """Write two files that are no images, whatever their names say: a truncated JPEG and an HTML page."""
    folder.mkdir(parents=True, exist_ok=True)
    truncated = folder / "broken-truncated.jpg"
    whole = _jpeg(draw_scene("sea", 320, 240, seed), number=1)
    truncated.write_bytes(whole[: len(whole) * 3 // 5])
    page = folder / "broken-page.jpg"
    page.write_text("<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>Not Found</body></html>\n")
    return [truncated, page]


def photograph(width: int, height: int, seed: int, *, quality: int = 88) -> bytes:
    """A JPEG whose content and size are like those of a photograph: about 2 bits per pixel, 4:2:0; 0.5 s for 12 MP.

    The power spectra of natural images fall as 1/f² (Field 1987). So do those of noise that is doubled in size again
    and again with weaker noise added each time; a few hard edges and the sensor's grain do the rest.
    """
    random = np.random.default_rng(seed)
    sizes = [(width, height)]
    while min(sizes[-1]) > 6:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    image = Image.fromarray(random.integers(40, 216, (sizes[-1][1], sizes[-1][0], 3), dtype=np.uint8))
    draw_edges_at = max(0, len(sizes) - 4)
    for level in range(len(sizes) - 2, -1, -1):
        image = image.resize(sizes[level], Image.Resampling.BILINEAR)
        if level == draw_edges_at:
            _draw_edges(image, random)
        # Halved with each doubling, down to what a sensor's grain is.
        strength = max(12, 56 >> (len(sizes) - 2 - level))
        image = _add_noise(image, random, strength)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _draw_edges(image: Image.Image, random: Random) -> None:
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        x, y, side = random.integers(image.width), random.integers(image.height), random.integers(3, image.width // 3)
        draw.rectangle((int(x), int(y), int(x + side), int(y + side // 2)), fill=_colour(random))


def _add_noise(image: Image.Image, random: Random, strength: int) -> Image.Image:
    """Grey noise within ± `strength`, with a triangular distribution like that of two dice."""
    noise = np.frombuffer(random.bytes(2 * image.width * image.height), dtype=np.int8).astype(np.int16)
    noise = (noise[0::2] + noise[1::2]) * np.int16(strength) // np.int16(256)
    pixels = np.asarray(image).astype(np.int16)
    pixels += noise.reshape(image.height, image.width, 1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _colour(random: Random, hue: float | None = None, saturation: float = 0.6, value: float = 0.8) -> Colour:
    hue = float(random.random()) if hue is None else hue + float(random.normal(0, 0.03))
    red, green, blue = colorsys.hsv_to_rgb(
        hue % 1,
        min(1.0, max(0.0, saturation + float(random.normal(0, 0.12)))),
        min(1.0, max(0.05, value + float(random.normal(0, 0.12)))),
    )
    return round(255 * red), round(255 * green), round(255 * blue)


def _gradient(width: int, height: int, top: Colour, bottom: Colour, angle: float = 0.0) -> Image.Image:
    """From `top` to `bottom`, turned by `angle` in radians."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    along: NDArray[np.floating] = y * np.cos(angle) + x * np.sin(angle)
    along = (along - along.min()) / max(float(np.ptp(along)), 1e-6)
    mixed = (1 - along[:, :, None]) * np.array(top) + along[:, :, None] * np.array(bottom)
    return Image.fromarray(mixed.astype(np.uint8))


def _sky(random: Random, width: int, height: int) -> Image.Image:
    image = _gradient(width, height, _colour(random, 0.58, 0.7, 0.75), _colour(random, 0.55, 0.25, 0.95))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(2, 7))):
        x, y = int(random.integers(width)), int(random.integers(height))
        for _ in range(6):
            cx, cy = x + int(random.integers(-40, 40)), y + int(random.integers(-12, 12))
            r = int(random.integers(12, 34))
            draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=(245, 245, 248))
    return image.filter(ImageFilter.GaussianBlur(3))


def _sea(random: Random, width: int, height: int) -> Image.Image:
    horizon = int(height * random.uniform(0.3, 0.6))
    dusk = random.random() < 0.5
    image = _gradient(width, height, _colour(random, 0.05 if dusk else 0.57), _colour(random, 0.12, 0.4, 0.95))
    image.paste(
        _gradient(width, height - horizon, _colour(random, 0.55, 0.6, 0.6), _colour(random, 0.6, 0.8, 0.25)),
        (0, horizon),
    )
    draw = ImageDraw.Draw(image)
    x, r = int(random.integers(width)), int(random.integers(12, 40))
    draw.ellipse((x - r, horizon - 2 * r, x + r, horizon), fill=_colour(random, 0.13, 0.4, 1.0))
    for y in range(horizon + 5, height, int(random.integers(7, 16))):
        draw.line((0, y, width, y + int(random.integers(-4, 5))), fill=_colour(random, 0.55, 0.2, 0.85), width=1)
    return image


def _fields(random: Random, width: int, height: int) -> Image.Image:
    image = _gradient(width, height, _colour(random, 0.57, 0.4, 0.9), _colour(random, 0.55, 0.15, 0.95))
    draw = ImageDraw.Draw(image)
    y = int(height * random.uniform(0.25, 0.55))
    while y < height:
        step = int(random.integers(20, 70))
        slope = int(random.integers(-25, 26))
        hue = float(random.choice([0.13, 0.22, 0.3, 0.36]))
        draw.polygon([(0, y), (width, y + slope), (width, height), (0, height)], fill=_colour(random, hue, 0.65, 0.6))
        y += step
    return image


def _city(random: Random, width: int, height: int) -> Image.Image:
    night = random.random() < 0.5
    image = _gradient(
        width, height, _colour(random, 0.66, 0.5, 0.15 if night else 0.8), _colour(random, 0.06, 0.4, 0.9)
    )
    draw = ImageDraw.Draw(image)
    x = -int(random.integers(0, 20))
    while x < width:
        broad, tall = int(random.integers(22, 70)), int(height * random.uniform(0.2, 0.85))
        draw.rectangle((x, height - tall, x + broad, height), fill=_colour(random, 0.62, 0.15, 0.2 if night else 0.5))
        for wy in range(height - tall + 8, height - 8, 16):
            for wx in range(x + 5, x + broad - 6, 12):
                if random.random() < 0.5:
                    draw.rectangle((wx, wy, wx + 5, wy + 8), fill=(250, 225, 140) if night else (200, 220, 235))
        x += broad + int(random.integers(0, 8))
    return image


def _shapes(random: Random, width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), _colour(random, saturation=0.15, value=0.95))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(3, 9))):
        x, y = int(random.integers(width)), int(random.integers(height))
        r = int(random.integers(min(width, height) // 10, min(width, height) // 3))
        kind = random.integers(3)
        colour = _colour(random, saturation=0.85, value=0.85)
        if kind == 0:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        elif kind == 1:
            draw.rectangle((x - r, y - r // 2, x + r, y + r // 2), fill=colour)
        else:
            draw.regular_polygon((x, y, r), int(random.integers(3, 7)), int(random.integers(360)), fill=colour)
    return image


def _colours(random: Random, width: int, height: int) -> Image.Image:
    angle = float(random.uniform(0, 2 * np.pi))
    return _gradient(width, height, _colour(random, None, 0.9, 0.9), _colour(random, None, 0.9, 0.5), angle)


def _texture(random: Random, width: int, height: int) -> Image.Image:
    cells = int(random.choice([5, 8, 13]))
    palette = np.array([_colour(random) for _ in range(3)], dtype=np.uint8)
    blocks = palette[random.integers(0, 3, (cells, cells))]
    smooth = Image.Resampling.BICUBIC if random.random() < 0.5 else Image.Resampling.NEAREST
    return Image.fromarray(blocks).resize((width, height), smooth)


def _mountains(random: Random, width: int, height: int) -> Image.Image:
    image = _gradient(width, height, _colour(random, 0.6, 0.5, 0.85), _colour(random, 0.04, 0.3, 0.95))
    draw = ImageDraw.Draw(image)
    hue = float(random.uniform(0.5, 0.9))
    for layer in range(4):
        base = height * (0.3 + 0.17 * layer)
        steps = np.cumsum(random.normal(0, height * 0.05, 14))
        ridge = [(width * i / 13, base + float(steps[i] - steps.mean())) for i in range(14)]
        draw.polygon([*ridge, (width, height), (0, height)], fill=_colour(random, hue, 0.3, 0.75 - 0.16 * layer))
    return image


SCENES: dict[str, Callable[[Random, int, int], Image.Image]] = {
    "sky": _sky,
    "sea": _sea,
    "fields": _fields,
    "city": _city,
    "shapes": _shapes,
    "colours": _colours,
    "texture": _texture,
    "mountains": _mountains,
}
"""What can be drawn, by the name that goes into the file's."""


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _jpeg(image: Image.Image, number: int) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    if number % 2:
        make, model = _CAMERAS[number // 2 % len(_CAMERAS)]
        exif[Base.Make], exif[Base.Model] = make, model
        taken = _FIRST_DATE + timedelta(days=7 * number, minutes=13 * number)
        exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
        if number % 5 == 0:
            # Held upright by a camera that stores what its sensor saw: turned by a quarter, with a note to turn back.
            image = image.transpose(Image.Transpose.ROTATE_90)
            exif[Base.Orientation] = 6
    image.save(buffer, "JPEG", quality=87, exif=exif.tobytes() if number % 2 else b"")
    return buffer.getvalue()
