"""What the small model knows: the pictures of an emoji font, with their names and keywords from Unicode CLDR.

Debian's packages fonts-noto-color-emoji (Noto Color Emoji, OFL 1.1) and unicode-cldr-core (Unicode licence) hold both.
"""

import unicodedata
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from schemas.errors import ConfigurationError

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
ANNOTATIONS = Path("/usr/share/unicode/cldr/common/annotations")
LANGUAGES = ("ja", "ru", "zh")
SIDE = 128
"""Pixels per side of a sprite: the font holds bitmaps of 136 x 128."""

_BITMAP = 109
"""The only size, in points, at which Pillow reads the bitmaps of this font."""


@dataclass(frozen=True)
class Concept:
    """One picture and what it is called. `names` are by language, English first; `keywords` are English."""

    character: str
    names: dict[str, str]
    keywords: tuple[str, ...]

    @property
    def name(self) -> str:
        """The English name, such as "red apple"."""
        return self.names["en"]


def read_concepts() -> list[Concept]:
    """Every single character that has a name in CLDR and a picture in the font, in the order of code points.

    Skin tones, letters and digits are left out. Raises `ConfigurationError` where a package is missing.
    """
    for path, package in ((FONT, "fonts-noto-color-emoji"), (ANNOTATIONS, "unicode-cldr-core")):
        if not path.exists():
            raise ConfigurationError(f"{path} is missing; install Debian's package {package}")
    names = {language: _annotations(language, spoken=True) for language in ("en", *LANGUAGES)}
    keywords = _annotations("en", spoken=False)
    font = _font()
    concepts = []
    for character in sorted(one for one in names["en"] if len(one) == 1):
        if character.isascii() or unicodedata.category(character) not in ("So", "Po", "Sm"):
            continue
        if _drawn(font, character) is None:
            continue
        called = {language: known[character] for language, known in names.items() if character in known}
        words = tuple(word.strip() for word in keywords.get(character, "").split("|") if word.strip())
        concepts.append(Concept(character, called, tuple(word for word in words if word != called["en"])))
    return concepts


def read_sprite(concept: Concept) -> Image.Image:
    """The picture, RGBA, `SIDE` pixels square, cut to what is drawn and centred."""
    drawn = _drawn(_font(), concept.character)
    if drawn is None:
        raise ConfigurationError(f"{FONT} has no picture of {concept.name}")
    drawn = drawn.crop(drawn.getbbox())
    drawn.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    sprite = Image.new("RGBA", (SIDE, SIDE))
    sprite.paste(drawn, ((SIDE - drawn.width) // 2, (SIDE - drawn.height) // 2))
    return sprite


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, _BITMAP)


def _drawn(font: ImageFont.FreeTypeFont, character: str) -> Image.Image | None:
    """What the font draws, or None where it has only an outline or nothing."""
    canvas = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(canvas).text((8, 8), character, font=font, embedded_color=True)
    pixels = np.asarray(canvas)
    visible = pixels[pixels[..., 3] > 128]
    # A glyph that is missing is a box drawn in the text's own colour.
    return canvas if len(visible) > 300 and visible[:, :3].any() else None


def _annotations(language: str, *, spoken: bool) -> dict[str, str]:
    tree = ElementTree.parse(ANNOTATIONS / f"{language}.xml")
    return {
        one.attrib["cp"]: one.text
        for one in tree.iter("annotation")
        if (one.get("type") == "tts") is spoken and one.text
    }
