"""How well `sightline-small` does on images that it never saw, over all its concepts.

    python -m benchmarks.sightline_small.evaluate [--model sightline-small] [--seed 2]

Images are drawn with a seed that the training did not have, a third of them on patterns that no training image has,
and go through the encoder as any user's would.
"""

import argparse
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from benchmarks.sightline_small.captions import Scene, describe_all, imagine, imagine_background
from benchmarks.sightline_small.concepts import LANGUAGES, Concept, read_concepts, read_sprite
from encoders.encoder import Encoder, Vectors
from encoders.registry import make_encoder
from imaging.sample_scenes import NUMBERS, plural, with_article
from imaging.scenes import COLOURS, MOST, PATTERNS, UNSEEN_PATTERNS, Background, Sprite, compose

Random = np.random.Generator

SIZE = (320, 240)
"""Pixels, width and height, of the images: as large as the demo's."""
PAIRS, SCENES, BATCH = 1000, 1000, 64
LOOK_ALIKES = 24


@dataclass(frozen=True)
class Verdict:
    """Shares between 0 and 1."""

    recall: dict[str, dict[int, float]]
    """By language: R@k, the share of names whose image is among the first k of one image of each concept."""
    colour: float
    """Share of pairs, alike but for the background's colour, that the colour's name ranks right."""
    count: float
    """Share of pairs, alike but for how often the picture is there, that the numeral ranks right."""
    same: dict[int, float]
    """Image to image: the share of concepts that are among the first k of one other image of each concept."""
    scenes: dict[int, float]
    """R@k of full captions among scenes of one to four pictures."""
    look_alikes: list[tuple[str, str]] = field(default_factory=list)
    """A name, and the other concept whose image came before its own by most."""

    def __str__(self) -> str:
        """A line for each question."""
        lines = [f"name to image, {language}: {_shares(recall)}" for language, recall in self.recall.items()]
        lines += [f"the colour's name ranks right: {self.colour:.1%} of {PAIRS} pairs"]
        lines += [f"the numeral ranks right: {self.count:.1%} of {PAIRS} pairs"]
        lines += [f"image to image, same concept: {_shares(self.same)}"]
        lines += [f"caption to scene, {SCENES} scenes: {_shares(self.scenes)}"]
        lines += ["look-alikes: " + "; ".join(f"{asked} ({found})" for asked, found in self.look_alikes)]
        return "\n".join(lines)


class Judge:
    """Asks an encoder that has been loaded."""

    def __init__(self, concepts: Sequence[Concept], encoder: Encoder, *, seed: int) -> None:
        self._concepts = concepts
        self._names = [concept.name for concept in concepts]
        self._sprites = [Sprite(read_sprite(concept)) for concept in concepts]
        self._encoder = encoder
        self._random = np.random.default_rng([seed, 0x5EED])

    def judge(self) -> Verdict:
        """All questions; a few minutes."""
        gallery, others = self._one_of_each(), self._one_of_each()
        recall, look_alikes = {}, []
        for language in ("en", *LANGUAGES):
            scores = self._texts([concept.names[language] for concept in self._concepts]) @ gallery.T
            recall[language] = _recall(scores, (1, 5, 10))
            if language == "en":
                look_alikes = self._confused(scores)
        return Verdict(
            recall=recall,
            colour=self._colours(),
            count=self._counts(),
            same=_recall(others @ gallery.T, (1, 3)),
            scenes=self._scenes(),
            look_alikes=look_alikes,
        )

    def _one_of_each(self) -> Vectors:
        """A vector (concepts, dimension) of one image with one picture of each concept."""
        return self._images([self._draw([number], self._background()) for number in range(len(self._concepts))])

    def _colours(self) -> float:
        texts, shown = [], []
        for number in self._random.integers(len(self._concepts), size=PAIRS).tolist():
            own, other = self._random.choice(list(COLOURS), 2, replace=False).tolist()
            texts.append(f"{self._names[number]} on {with_article(own)} background")
            shown += [self._draw([number], Background(colour, self._background().pattern)) for colour in (own, other)]
        return self._first_of_two(texts, shown)

    def _counts(self) -> float:
        texts, shown = [], []
        for number in self._random.integers(len(self._concepts), size=PAIRS).tolist():
            own, other = self._random.choice(np.arange(1, MOST + 1), 2, replace=False).tolist()
            background, name = self._background(), self._names[number]
            texts.append(f"{NUMBERS[own]} {name if own == 1 else plural(name)}")
            shown += [self._draw([number] * count, background) for count in (own, other)]
        return self._first_of_two(texts, shown)

    def _first_of_two(self, texts: Sequence[str], shown: Sequence[Image.Image]) -> float:
        """The share of texts that are nearer to the first of their two images."""
        pairs = self._images(shown).reshape(len(texts), 2, -1)
        own, other = np.moveaxis(np.einsum("nd,nkd->nk", self._texts(texts), pairs), 1, 0)
        return float((own > other).mean())

    def _scenes(self) -> dict[int, float]:
        scenes: list[Scene] = []
        for _ in range(SCENES):
            numbers = self._random.choice(len(self._concepts), MOST, replace=False).tolist()
            scenes.append(imagine(self._random, numbers, (*PATTERNS, *UNSEEN_PATTERNS)))
        images = self._images([self._draw(scene.pictures, scene.background) for scene in scenes])
        texts = self._texts([describe_all(scene, self._names, self._random) for scene in scenes])
        return _recall(texts @ images.T, (1, 5, 10))

    def _confused(self, scores: Vectors) -> list[tuple[str, str]]:
        """Names that found another concept's image first, by how far it was ahead."""
        ahead = scores.max(axis=1) - scores.diagonal()
        first = scores.argmax(axis=1)
        worst = [number for number in np.argsort(-ahead).tolist() if ahead[number] > 0]
        return [(self._names[number], self._names[first[number]]) for number in worst[:LOOK_ALIKES]]

    def _background(self) -> Background:
        return imagine_background(self._random, (*PATTERNS, *UNSEEN_PATTERNS))

    def _draw(self, numbers: Sequence[int], background: Background) -> Image.Image:
        drawn = compose([self._sprites[number] for number in numbers], background, SIZE, self._random)
        file = io.BytesIO()
        drawn.save(file, "JPEG", quality=int(self._random.integers(60, 96)))
        return Image.open(file)

    def _images(self, images: Sequence[Image.Image]) -> Vectors:
        parts = [images[at : at + BATCH] for at in range(0, len(images), BATCH)]
        return np.concatenate([self._encoder.forward([self._encoder.prepare(one) for one in part]) for part in parts])

    def _texts(self, texts: Sequence[str]) -> Vectors:
        parts = [texts[at : at + BATCH] for at in range(0, len(texts), BATCH)]
        return np.concatenate([self._encoder.encode_text(part) for part in parts])


def _recall(scores: Vectors, depths: Sequence[int]) -> dict[int, float]:
    """The share of rows (n, n) whose own column is among the first k; ties count against it."""
    others = scores.copy()
    np.fill_diagonal(others, -np.inf)
    ahead = (others >= scores.diagonal()[:, None]).sum(axis=1)
    return {depth: float((ahead < depth).mean()) for depth in depths}


def _shares(recall: dict[int, float]) -> str:
    return ", ".join(f"R@{depth} {share:.3f}" for depth, share in recall.items())


def main() -> None:
    """Read the command line, load and judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="sightline-small")
    parser.add_argument("--seed", type=int, default=2)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    encoder = make_encoder(arguments.model)
    encoder.load()
    print(Judge(read_concepts(), encoder, seed=arguments.seed).judge())


if __name__ == "__main__":
    main()
