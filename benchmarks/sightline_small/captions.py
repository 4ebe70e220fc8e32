"""Scenes as a person would describe them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from imaging.sample_scenes import plural, with_article
from imaging.scenes import COLOURS, MOST, PATTERNS, Background

Random = np.random.Generator

NUMBERS = {1: ("a", "one", "1"), 2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4")}
OPENINGS = ("a picture of ", "a photo of ", "an image of ", "a drawing of ", "picture of ", "photo of ")
JOINTS = (" and ", " and ", " with ", " next to ", ", ")

ANYWHERE, IN_THINGS = (0.45, 0.9), (0.0, 0.5)
"""Where a mistake may be."""


@dataclass(frozen=True)
class Thing:
    """`count` pictures of one concept, which is given by its number."""

    concept: int
    count: int


@dataclass(frozen=True)
class Scene:
    """What an image shows."""

    things: tuple[Thing, ...]
    background: Background

    @property
    def pictures(self) -> list[int]:
        """The concept of each picture."""
        return [thing.concept for thing in self.things for _ in range(thing.count)]


def imagine(random: Random, concepts: Sequence[int], patterns: Sequence[str] = PATTERNS) -> Scene:
    """A scene with the first one to four of `concepts`; a third of all scenes show a single picture."""
    draw = random.random()
    if draw < 0.6:
        things = [Thing(concepts[0], int(random.choice((1, 1, 1, 1, 2, 3, 4))))]
    elif draw < 0.9:
        first = int(random.choice((1, 1, 2, 3)))
        things = [Thing(concepts[0], first), Thing(concepts[1], int(random.integers(1, MOST - first + 1)))]
    else:
        things = [Thing(concept, 1) for concept in concepts[: int(random.integers(3, MOST + 1))]]
    return Scene(tuple(things), imagine_background(random, patterns))


def imagine_background(random: Random, patterns: Sequence[str] = PATTERNS) -> Background:
    """Any colour, any of the patterns."""
    return Background(str(random.choice(list(COLOURS))), str(random.choice(list(patterns))))


def describe(scene: Scene, names: Sequence[str], random: Random) -> str:
    """A caption that is true of the scene; it need not tell everything. `names` by the number of the concept."""
    things = [scene.things[at] for at in random.permutation(len(scene.things))]
    words = str(random.choice(JOINTS)).join(count_of(thing.count, names[thing.concept], random) for thing in things)
    opening = str(random.choice(OPENINGS)) if random.random() < 0.4 else ""
    return opening + words + (_where(scene.background, random) if random.random() < 0.6 else "")


def another(background: Background, random: Random) -> Background:
    """The same pattern in another colour."""
    others = [colour for colour in COLOURS if colour != background.colour]
    return replace(background, colour=str(random.choice(others)))


def mistake(
    scene: Scene, concepts: int, random: Random, shares: tuple[float, float] = ANYWHERE, near: int | None = None
) -> Scene:
    """The scene with one thing wrong: the background's colour, a count, or a concept.

    `shares` are the chances of the first and of the first two. A wrong concept is among the next `near` ones.
    """
    draw = random.random()
    if draw < shares[0]:
        return replace(scene, background=another(scene.background, random))
    at = int(random.integers(len(scene.things)))
    thing = scene.things[at]
    if draw < shares[1]:
        counts = [count for count in range(1, MOST + 1) if count != thing.count]
        wrong = replace(thing, count=int(random.choice(counts)))
    else:
        wrong = replace(
            thing, concept=int((thing.concept + random.integers(1, min(near or concepts, concepts))) % concepts)
        )
    return replace(scene, things=(*scene.things[:at], wrong, *scene.things[at + 1 :]))


def describe_all(scene: Scene, names: Sequence[str], random: Random) -> str:
    """A caption that tells counts and colour, so that a mistake in either shows."""
    words = str(random.choice(JOINTS)).join(
        count_of(thing.count, names[thing.concept], random) for thing in scene.things
    )
    opening = str(random.choice(OPENINGS)) if random.random() < 0.4 else ""
    return opening + words + _where(scene.background, random)


def name_of(name: str, random: Random) -> str:
    """One concept, as somebody who looks for it might write."""
    draw = random.random()
    if draw < 0.5:
        return name
    return f"a picture of {name}" if draw < 0.7 else str(random.choice(OPENINGS)) + with_article(name)


def count_of(count: int, name: str, random: Random) -> str:
    """Such as "two red apples"."""
    number = str(random.choice(NUMBERS[count]))
    if count > 1:
        return f"{number} {plural(name)}"
    if random.random() < 0.3:
        return name
    return with_article(name) if number == "a" else f"{number} {name}"


def _where(background: Background, random: Random) -> str:
    pattern = background.pattern + " " if background.pattern != "plain" and random.random() < 0.3 else ""
    look = pattern + background.colour
    whole = f"{with_article(look)} background"
    forms = (f"on {whole}", f"on {background.colour}", f"in front of {whole}")
    return " " + str(random.choice(forms))
