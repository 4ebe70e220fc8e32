"""Scenes composed of pictures on a background: what the small model learns from, and what the demo shows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Random = np.random.Generator
Plane = NDArray[np.float32]

COLOURS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "red": ((214, 40, 40), (178, 24, 34), (235, 70, 60)),
    "orange": ((245, 140, 30), (230, 115, 20), (250, 165, 70)),
    "yellow": ((250, 220, 50), (240, 205, 30), (252, 232, 110)),
    "green": ((60, 160, 70), (30, 120, 50), (110, 195, 105)),
    "blue": ((50, 100, 210), (30, 65, 160), (95, 160, 235)),
    "purple": ((130, 60, 180), (95, 40, 140), (160, 105, 210)),
    "pink": ((245, 140, 185), (235, 105, 160), (250, 175, 205)),
    "brown": ((125, 80, 45), (95, 60, 35), (155, 110, 70)),
    "grey": ((130, 130, 130), (105, 106, 108), (165, 165, 168)),
    "white": ((245, 245, 245), (252, 252, 250), (235, 238, 240)),
    "black": ((20, 20, 22), (8, 8, 10), (38, 38, 42)),
}
"""Shades, RGB, that a person would call by the name."""

PATTERNS = ("plain", "gradient", "striped", "dotted", "cloudy")
UNSEEN_PATTERNS = ("checkered", "wavy")
"""Patterns that no training image has, for evaluation."""

MOST = 4
"""Pictures in one scene."""


@dataclass(frozen=True)
class Background:
    """`colour` is a key of `COLOURS`, `pattern` one of `PATTERNS` or `UNSEEN_PATTERNS`."""

    colour: str
    pattern: str


@dataclass(frozen=True)
class Manner:
    """How pictures are laid out. `turn` is degrees either way, `least` and `most` shares of the room a picture has."""

    turn: float = 25.0
    least: float = 0.6
    most: float = 1.0


USUAL = Manner()


class Sprite:
    """A picture with transparency that can be drawn at any size without aliasing. `image` is RGBA and square."""

    def __init__(self, image: Image.Image) -> None:
        self._levels = [image.convert("RGBA").convert("RGBa")]
        while self._levels[-1].width > 24:
            half = self._levels[-1].width // 2
            self._levels.append(self._levels[-1].resize((half, half), Image.Resampling.BOX))

    def drawn(self, side: int, turn: float) -> Image.Image:
        """RGBA of about `side` pixels square, turned by `turn` degrees; the corners may be cut."""
        level = next((one for one in reversed(self._levels) if one.width >= side), self._levels[0])
        scale = level.width / side
        cosine, sine = math.cos(math.radians(turn)) * scale, math.sin(math.radians(turn)) * scale
        middle, centre = level.width / 2, side / 2
        coefficients = (
            cosine,
            sine,
            middle - centre * (cosine + sine),
            -sine,
            cosine,
            middle - centre * (cosine - sine),
        )
        drawn = level.transform((side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
        return drawn.convert("RGBA")


def compose(
    sprites: Sequence[Sprite],
    background: Background,
    size: tuple[int, int],
    random: Random,
    manner: Manner = USUAL,
) -> Image.Image:
    """An RGB image of `size` (width, height) with one to `MOST` sprites that do not hide each other."""
    image = draw_background(background, size, random)
    for sprite, (left, top, right, bottom) in zip(sprites, _rooms(len(sprites), size, random), strict=True):
        room = min(right - left, bottom - top)
        side = max(8, round(room * random.uniform(manner.least, manner.most)))
        x = left + random.uniform(0, max(0.0, right - left - side))
        y = top + random.uniform(0, max(0.0, bottom - top - side))
        drawn = sprite.drawn(side, random.uniform(-manner.turn, manner.turn))
        image.paste(drawn, (round(x), round(y)), drawn)
    return image


def draw_background(background: Background, size: tuple[int, int], random: Random) -> Image.Image:
    """RGB, in shades of one colour."""
    shades = COLOURS[background.colour]
    base: Plane = (np.array(shades[random.integers(len(shades))]) + random.normal(0, 6, 3)).astype(np.float32)
    width, height = size
    longer = np.float32(max(size))
    rows: Plane = np.arange(height, dtype=np.float32)[:, None] / longer
    columns: Plane = np.arange(width, dtype=np.float32)[None, :] / longer
    plane = np.broadcast_to(_PATTERN[background.pattern](random, rows, columns), (height, width))
    # Dark colours are varied towards light and light ones towards dark, so that the name stays right.
    towards = np.float32(255 if base.mean() < 90 else 0)
    strength = np.float32(random.uniform(0.12, 0.3) * (0.6 if towards else 1.0))
    pixels = base + (towards - base) * (plane * strength)[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _rooms(count: int, size: tuple[int, int], random: Random) -> list[tuple[float, float, float, float]]:
    """A room (left, top, right, bottom) for each of up to four pictures."""
    width, height = size
    if count == 1:
        return [(0, 0, width, height)]
    if count == 2:
        # Side by side where there is room for it, else one above the other.
        across = random.random() < (0.5 if 0.8 < width / height < 1.25 else float(width > height))
        cut = random.uniform(0.42, 0.58)
        if across:
            rooms = [(0.0, 0.0, cut * width, float(height)), (cut * width, 0.0, float(width), float(height))]
        else:
            rooms = [(0.0, 0.0, float(width), cut * height), (0.0, cut * height, float(width), float(height))]
    else:
        x, y = random.uniform(0.42, 0.58) * width, random.uniform(0.42, 0.58) * height
        rooms = [(0.0, 0.0, x, y), (x, 0.0, float(width), y), (0.0, y, x, float(height)), (x, y, width, height)]
    return [rooms[at] for at in random.permutation(len(rooms))[:count]]


def _plain(random: Random, rows: Plane, columns: Plane) -> Plane:
    return np.zeros((1, 1), dtype=np.float32)


def _along(random: Random, rows: Plane, columns: Plane) -> Plane:
    angle = random.uniform(0, 2 * math.pi)
    return (rows * math.sin(angle) + columns * math.cos(angle)).astype(np.float32)


def _gradient(random: Random, rows: Plane, columns: Plane) -> Plane:
    plane = _along(random, rows, columns)
    level: Plane = (plane - plane.min()) / np.float32(np.ptp(plane) + 1e-6)
    return level


def _striped(random: Random, rows: Plane, columns: Plane) -> Plane:
    level: Plane = np.sin(_along(random, rows, columns) * random.uniform(30, 70))
    return (level > 0).astype(np.float32)


def _dotted(random: Random, rows: Plane, columns: Plane) -> Plane:
    step = random.uniform(0.09, 0.2)
    y, x = (rows / step) % 1 - 0.5, (columns / step) % 1 - 0.5
    return (x * x + y * y < random.uniform(0.04, 0.1)).astype(np.float32)


def _cloudy(random: Random, rows: Plane, columns: Plane) -> Plane:
    coarse = random.random((int(random.integers(3, 9)),) * 2, dtype=np.float32)
    size = (columns.shape[1], rows.shape[0])
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def _checkered(random: Random, rows: Plane, columns: Plane) -> Plane:
    step = random.uniform(0.08, 0.2)
    return ((rows // step + columns // step) % 2).astype(np.float32)


def _wavy(random: Random, rows: Plane, columns: Plane) -> Plane:
    bend: Plane = np.sin(columns * random.uniform(12, 30)) * random.uniform(0.02, 0.05)
    bent: Plane = np.sin((rows + bend) * random.uniform(30, 60))
    return (bent > 0).astype(np.float32)


_PATTERN: dict[str, Callable[[Random, Plane, Plane], Plane]] = {
    "plain": _plain,
    "gradient": _gradient,
    "striped": _striped,
    "dotted": _dotted,
    "cloudy": _cloudy,
    "checkered": _checkered,
    "wavy": _wavy,
}
