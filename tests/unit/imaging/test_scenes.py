"""Scenes: what is asked for is drawn, the same for the same seed, and nothing hides anything."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imaging.sample_scenes import SHEET, Pictures, counted, draw_sample_scenes
from imaging.scenes import COLOURS, MOST, PATTERNS, UNSEEN_PATTERNS, Background, Sprite, compose, draw_background

SQUARE = Sprite(Image.new("RGBA", (128, 128), (255, 0, 255, 255)))
BACKGROUNDS = st.builds(Background, st.sampled_from(list(COLOURS)), st.sampled_from((*PATTERNS, *UNSEEN_PATTERNS)))


@settings(deadline=None)
@given(
    background=BACKGROUNDS,
    count=st.integers(1, MOST),
    size=st.tuples(st.integers(48, 300), st.integers(48, 300)),
    seed=st.integers(0, 2**32),
)
def test_every_picture_is_there_and_none_hides_another(
    background: Background, count: int, size: tuple[int, int], seed: int
) -> None:
    image = compose([SQUARE] * count, background, size, np.random.default_rng(seed))
    assert image.size == size
    assert image.mode == "RGB"
    red, green, blue = np.moveaxis(np.asarray(image).astype(int), 2, 0)
    covered = int(((red > 250) & (green < 5) & (blue > 250)).sum())
    # A square of side s turned by up to 25 degrees in a box of side s keeps at least three quarters of it.
    sides = [side**2 for side in _least_sides(size, count)]
    assert covered >= 0.6 * sum(sides), "some picture is hidden or missing"


def _least_sides(size: tuple[int, int], count: int) -> list[float]:
    """The least side that each picture may have, by the narrowest rooms."""
    if count == 1:
        return [0.6 * min(size)]
    if count == 2:
        return [0.6 * min(min(size), 0.42 * max(size)) if max(size) / min(size) > 1.25 else 0.6 * 0.42 * min(size)] * 2
    return [0.6 * 0.42 * min(size)] * count


@pytest.mark.parametrize("pattern", [*PATTERNS, *UNSEEN_PATTERNS])
@pytest.mark.parametrize("colour", COLOURS)
def test_a_background_has_about_the_colour_that_it_is_called_by(colour: str, pattern: str) -> None:
    def distance(pixel: np.ndarray, name: str) -> float:
        return float(min(np.linalg.norm(np.array(shade) - pixel) for shade in COLOURS[name]))

    dark = np.mean(COLOURS[colour]) < 90
    for seed in range(5):
        pixels = np.asarray(draw_background(Background(colour, pattern), (64, 48), np.random.default_rng(seed)))
        # Patterns are drawn towards the other end of the scale, so the ground is what is least so.
        ordered = pixels.reshape(-1, 3)[np.argsort(pixels.reshape(-1, 3).sum(axis=1))]
        ground = ordered[len(ordered) // 20 if dark else -len(ordered) // 20]
        nearest = sorted(COLOURS, key=lambda name: distance(ground, name))[:2]
        assert colour in nearest, f"{ground} was drawn for {colour}"


def test_the_same_seed_draws_the_same_bytes_and_names_tell_nothing(tmp_path: Path) -> None:
    first = draw_sample_scenes(tmp_path / "a", 40, seed=3)
    again = draw_sample_scenes(tmp_path / "b", 40, seed=3)
    other = draw_sample_scenes(tmp_path / "c", 40, seed=4)
    assert [one.path.read_bytes() for one in first] == [one.path.read_bytes() for one in again]
    assert [one.path.read_bytes() for one in first] != [one.path.read_bytes() for one in other]
    assert len({one.path for one in first}) == 40
    for scene in first:
        words = {word for name, _ in scene.things for word in name.lower().split()}
        assert not words & set(scene.path.relative_to(tmp_path).as_posix().lower().replace("_", " ").split())
        assert 1 <= sum(count for _, count in scene.things) <= MOST


def test_every_picture_is_shown_before_any_comes_again(tmp_path: Path) -> None:
    shown = [name for scene in draw_sample_scenes(tmp_path, 60, seed=1) for name, _ in scene.things]
    assert len(set(shown)) == len(shown)


def test_the_sheet_is_small_and_every_name_has_a_picture() -> None:
    assert SHEET.stat().st_size < 1_000_000
    pictures = Pictures()
    assert len(set(pictures.names)) == len(pictures.names) > 150
    background = Background("grey", "plain")
    empty = np.asarray(pictures.draw([], background, (96, 96), seed=1))
    for name in pictures.names:
        drawn = np.asarray(pictures.draw([(name, 1)], background, (96, 96), seed=1))
        assert (np.abs(drawn.astype(int) - empty).max(axis=2) > 30).mean() > 0.02, name


@pytest.mark.parametrize(
    ("count", "name", "words"),
    [(1, "red apple", "a red apple"), (1, "owl", "an owl"), (1, "unicorn", "a unicorn"), (2, "fox", "two foxes")],
)
def test_things_are_counted_in_words(count: int, name: str, words: str) -> None:
    assert counted(count, name) == words
