"""Sample images with something to find in them: one to four pictures on a background, with camera-like file names.

The pictures are Noto Color Emoji's (OFL 1.1, see NOTICE), kept in one sheet so that no font need be installed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imaging.samples import encode_sample
from imaging.scenes import COLOURS, MOST, PATTERNS, Background, Sprite, compose

SHEET = Path(__file__).parent / "sample_pictures.webp"
NAMES = Path(__file__).parent / "sample_pictures.json"
SIDE = 96
"""Pixels per side of a picture on the sheet."""

SIZES = ((320, 240), (240, 320), (400, 300), (320, 320), (384, 256))
NUMBERS = ("no", "one", "two", "three", "four")
_NO_PLURAL = (
    "s",
    "ing",
    "fish",
    "sheep",
    "rice",
    "bread",
    "hair",
    "water",
    "shrimp",
    "deer",
    "bison",
    "sushi",
    "squid",
)


@dataclass(frozen=True)
class SampleScene:
    """An image file and what it shows: `things` are names with how often each is there."""

    path: Path
    things: tuple[tuple[str, int], ...]
    background: Background

    @property
    def caption(self) -> str:
        """Such as "two red apples and a fox on a blue background"."""
        return " and ".join(counted(count, name) for name, count in self.things) + f" on {self._background}"

    @property
    def _background(self) -> str:
        return f"{with_article(self.background.colour)} background"


class Pictures:
    """The pictures of the sheet, by name."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = tuple(json.loads(NAMES.read_text()))
        with Image.open(SHEET) as sheet:
            columns = sheet.width // SIDE
            places = [(number % columns * SIDE, number // columns * SIDE) for number in range(len(self.names))]
            pictures = [sheet.crop((x, y, x + SIDE, y + SIDE)) for x, y in places]
        self._sprites = dict(zip(self.names, map(Sprite, pictures), strict=True))

    def draw(
        self, things: Sequence[tuple[str, int]], background: Background, size: tuple[int, int], seed: int
    ) -> Image.Image:
        """An RGB image of `size` (width, height). Raises `KeyError` for a name that is not on the sheet."""
        sprites = [self._sprites[name] for name, count in things for _ in range(count)]
        return compose(sprites, background, size, np.random.default_rng(seed))


def draw_sample_scenes(folder: Path, count: int, seed: int) -> list[SampleScene]:
    """Draw `count` scenes into `folder`, which is made if need be; about 4 ms each. The same seed, the same bytes.

    File names are those of cameras and tell nothing: `2023/IMG_0412.jpg`. Two of three are JPEG, some with a date,
    a camera and an EXIF orientation; the others are PNG. Every picture of the sheet is shown before any is again.
    """
    random = np.random.default_rng(seed)
    pictures = Pictures()
    order: list[str] = []
    scenes = []
    for number in range(count):
        if len(order) < MOST:
            order += [pictures.names[at] for at in random.permutation(len(pictures.names))]
        things = _things(random, order)
        background = Background(str(random.choice(list(COLOURS))), str(random.choice(PATTERNS)))
        suffix, encode = encode_sample(number)
        path = (
            folder / str(2019 + number % 6) / f"{random.choice(('IMG', 'DSC', 'P'))}_{1000 * seed + number:05d}{suffix}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        image = pictures.draw(things, background, SIZES[number % len(SIZES)], seed=int(random.integers(1 << 32)))
        path.write_bytes(encode(image))
        scenes.append(SampleScene(path, tuple(things), background))
    return scenes


def counted(count: int, name: str) -> str:
    """Such as "a fox" or "two red apples"."""
    if count == 1:
        return with_article(name)
    return f"{NUMBERS[count]} {plural(name)}"


def with_article(name: str) -> str:
    """Such as "an owl" or "a unicorn"."""
    vowel = name[0] in "aeiou" and not name.startswith(("uni", "eu", "one"))
    return f"{'an' if vowel else 'a'} {name}"


def plural(name: str) -> str:
    """The plural of the last word, for the regular cases."""
    if name.endswith(_NO_PLURAL):
        return name
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + ("es" if name.endswith(("sh", "ch", "x", "z")) else "s")


def _things(random: np.random.Generator, order: list[str]) -> list[tuple[str, int]]:
    """One thing once or several times, or several things; they are taken from `order`."""
    kinds = int(random.choice((1, 1, 2, 2, 3)))
    if kinds == 1:
        return [(order.pop(), int(random.integers(1, MOST + 1)))]
    if kinds == 2:
        first = int(random.integers(1, MOST))
        return [(order.pop(), first), (order.pop(), int(random.integers(1, MOST - first + 1)))]
    return [(order.pop(), 1) for _ in range(kinds)]
