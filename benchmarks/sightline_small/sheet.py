"""Write the sheet of pictures that the demo's scenes are made of, so that no font is needed to run it.

python -m benchmarks.sightline_small.sheet
"""

import json
from pathlib import Path

from PIL import Image

from benchmarks.sightline_small.concepts import Concept, read_concepts, read_sprite
from imaging.sample_scenes import NAMES, SHEET, SIDE

COLUMNS = 16
QUALITY = 78

CHOSEN = (
    (0x1F32D, 0x1F32F, "snacks"),
    (0x1F332, 0x1F335, "trees"),
    (0x1F337, 0x1F33D, "flowers"),
    (0x1F340, 0x1F341, "leaves"),
    (0x1F344, 0x1F357, "fruit and meals"),
    (0x1F363, 0x1F36B, "sweets"),
    (0x1F377, 0x1F37A, "drinks"),
    (0x1F380, 0x1F381, "presents"),
    (0x1F388, 0x1F388, "balloon"),
    (0x1F3A8, 0x1F3A9, "palette and hat"),
    (0x1F3B7, 0x1F3BB, "instruments"),
    (0x1F400, 0x1F42C, "animals"),
    (0x1F4F7, 0x1F4F7, "camera"),
    (0x1F680, 0x1F682, "rocket, helicopter, locomotive"),
    (0x1F68C, 0x1F68C, "bus"),
    (0x1F691, 0x1F693, "emergency services"),
    (0x1F695, 0x1F695, "taxi"),
    (0x1F697, 0x1F697, "car"),
    (0x1F69A, 0x1F69C, "lorries"),
    (0x1F6A2, 0x1F6A2, "ship"),
    (0x1F6B2, 0x1F6B2, "bicycle"),
    (0x1F6F4, 0x1F6F9, "scooters, boats"),
    (0x1F94A, 0x1F94A, "boxing glove"),
    (0x1F950, 0x1F95E, "breakfast"),
    (0x1F962, 0x1F96D, "more meals"),
    (0x1F980, 0x1F9AD, "more animals"),
    (0x1F9C0, 0x1F9C1, "cheese and cake"),
)
"""Ranges of code points: things that most people would name alike."""
TOO_MUCH_ALIKE = {"mouse", "baby chick", "front-facing baby chick", "water buffalo", "two-hump camel", "poodle"}


def chosen(concept: Concept) -> bool:
    """Whether the concept is on the sheet."""
    at = ord(concept.character)
    return any(first <= at <= last for first, last, _ in CHOSEN) and concept.name not in TOO_MUCH_ALIKE


def write(sheet: Path, names: Path) -> None:
    """Write the pictures, in rows, and their names in the same order."""
    concepts = [concept for concept in read_concepts() if chosen(concept)]
    rows = -(-len(concepts) // COLUMNS)
    canvas = Image.new("RGBA", (COLUMNS * SIDE, rows * SIDE))
    for number, concept in enumerate(concepts):
        sprite = read_sprite(concept).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        canvas.paste(sprite, (number % COLUMNS * SIDE, number // COLUMNS * SIDE))
    canvas.save(sheet, "WEBP", quality=QUALITY, method=6, exact=False)
    names.write_text(json.dumps([concept.name for concept in concepts], indent=1) + "\n")
    print(f"{len(concepts)} pictures, {sheet.stat().st_size} bytes")


if __name__ == "__main__":
    write(SHEET, NAMES)
