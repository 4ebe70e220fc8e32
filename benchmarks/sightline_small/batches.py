"""Fresh images and captions for every step of the training, the same for the same seed and step."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.sightline_small.architecture import CONTEXT, SIDE
from benchmarks.sightline_small.captions import (
    IN_THINGS,
    Scene,
    another,
    describe,
    describe_all,
    imagine,
    mistake,
    name_of,
)
from benchmarks.sightline_small.concepts import LANGUAGES, Concept
from imaging.scenes import MOST, Sprite, compose

Random = np.random.Generator

SIZES = ((96, 96), (96, 96), (96, 96), (120, 96), (96, 120), (144, 96), (96, 144), (152, 112), (112, 152))
"""Sizes at which scenes are drawn before they are squashed to the model's input."""
ABROAD = 96
"""Names in other languages asked of each batch."""
KEYWORDS = 64
"""Keywords asked of each batch."""
RUN = 8
"""Neighbours in the font's order that one batch shows, where what looks alike is to be told apart."""
FEWEST_HOLDERS, MOST_HOLDERS = 2, 40
"""Concepts that a keyword must have, and may have, to say something."""


@dataclass(frozen=True)
class Batch:
    """What one step sees. `present` and `described` tell which of the words are true of which of the n images."""

    images: Tensor
    """(n, SIDE, SIDE, 3), uint8."""
    captions: Tensor
    """(n, length) tokens: one true caption for each image."""
    mistakes: Tensor
    """(n, length) tokens: the same with one thing wrong."""
    names: Tensor
    """(m, length) tokens: English names of m concepts, among them all that are shown."""
    abroad: Tensor
    """(f, length) tokens: names of the first f of these concepts in other languages."""
    present: Tensor
    """(n, m), float32: 1 where the concept is in the image."""
    keywords: Tensor
    """(k, length) tokens."""
    described: Tensor
    """(n, k), float32."""
    views: int = 0
    """If not 0: image i shows what image `i + views` shows, before another background, and `i + 2 * views` shows
    something else before the background of image i, with one thing wrong; n is 3 x views."""


class Batches(Dataset[Batch]):
    """Batch number `step` of a training that is told by its seed. Drawn in worker processes."""

    def __init__(
        self,
        concepts: Sequence[Concept],
        sprites: Sequence[Sprite],
        *,
        seed: int,
        steps: int,
        images: int,
        names: int,
        views: bool = False,
        alike: bool = False,
    ) -> None:
        self._concepts, self._sprites = concepts, sprites
        self._seed, self._steps, self._images, self._names, self._views = seed, steps, images, names, views
        self._alike = alike
        self._english = [concept.name for concept in concepts]
        holders: dict[str, set[int]] = {}
        for number, concept in enumerate(concepts):
            for word in concept.keywords:
                holders.setdefault(word, set()).add(number)
        self._holders = {
            word: held for word, held in sorted(holders.items()) if FEWEST_HOLDERS <= len(held) <= MOST_HOLDERS
        }
        self._own_words = [[word for word in concept.keywords if len(holders[word]) == 1] for concept in concepts]

    def __len__(self) -> int:
        """Steps."""
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        """One step's batch."""
        random = np.random.default_rng([self._seed, step])
        total = len(self._concepts)
        views = self._images // 3 if self._views else 0
        scenes = [imagine(random, shown) for shown in self._chosen(views or self._images, random)]
        if views:
            elsewhere = [replace(scene, background=another(scene.background, random)) for scene in scenes]
            near = RUN if self._alike else total
            scenes = [*scenes, *elsewhere, *(_wrong(scene, total, near, random) for scene in scenes)]
        captions, mistakes = [], []
        for scene in scenes:
            tell = describe_all if random.random() < 0.6 else describe
            captions.append(tell(scene, self._english, random))
            mistakes.append(describe_all(mistake(scene, total, random), self._english, random))
        shown = sorted({thing.concept for scene in scenes for thing in scene.things})
        others = np.setdiff1d(np.arange(total), shown)
        others = random.permutation(others)[: max(0, self._names - len(shown))]
        asked = random.permutation([*shown, *others.tolist()]).tolist()
        words = random.choice(list(self._holders), KEYWORDS, replace=False).tolist()
        return Batch(
            images=torch.from_numpy(np.stack([self._draw(scene, random) for scene in scenes])),
            captions=tokenize(captions),
            mistakes=tokenize(mistakes),
            names=tokenize([self._call(number, random) for number in asked]),
            abroad=tokenize([self._call_abroad(number, random) for number in asked[:ABROAD]]),
            present=_truth(scenes, [{number} for number in asked]),
            keywords=tokenize(words),
            described=_truth(scenes, [self._holders[word] for word in words]),
            views=views,
        )

    def _chosen(self, scenes: int, random: Random) -> list[list[int]]:
        """Four concepts for each scene. The font's order has what looks alike side by side: clocks, arrows, hands."""
        total = len(self._concepts)
        chosen = [random.choice(total, MOST, replace=False).tolist() for _ in range(scenes)]
        if self._alike:
            for at in range(0, scenes - scenes % (2 * RUN), 2 * RUN):
                start = int(random.integers(total))
                for offset in range(RUN):
                    first = (start + offset) % total
                    chosen[at + offset] = [first, *(one for one in chosen[at + offset] if one != first)][:MOST]
        return chosen

    def _call(self, number: int, random: Random) -> str:
        concept, draw = self._concepts[number], random.random()
        if draw < 0.1 and self._own_words[number]:
            return str(random.choice(self._own_words[number]))
        return name_of(concept.name, random)

    def _call_abroad(self, number: int, random: Random) -> str:
        concept = self._concepts[number]
        return concept.names.get(LANGUAGES[int(random.integers(len(LANGUAGES)))], concept.name)

    def _draw(self, scene: Scene, random: Random) -> NDArray[np.uint8]:
        size = SIZES[int(random.integers(len(SIZES)))]
        image = compose([self._sprites[number] for number in scene.pictures], scene.background, size, random)
        return finished(image, random)


def _wrong(scene: Scene, concepts: int, near: int, random: Random) -> Scene:
    """The scene before the same background with one thing wrong, and not more pictures than can be drawn."""
    while len((wrong := mistake(scene, concepts, random, IN_THINGS, near)).pictures) > MOST:
        pass
    return wrong


def finished(image: Image.Image, random: Random) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3): compressed as photographs are, in half of the cases, and squashed as the model wants it."""
    if random.random() < 0.5:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(random.integers(40, 96)))
        image = Image.open(file)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.uint8)


def tokenize(texts: Sequence[str]) -> Tensor:
    """(n, longest) tokens of open_clip's tokenizer, cut at the context's length."""
    rows = []
    for text in texts:
        tokens = [token for word in text.split() for token in _tokens(word)][: CONTEXT - 2]
        rows.append([_tokenizer().sot_token_id, *tokens, _tokenizer().eot_token_id])
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


@cache
def _tokens(word: str) -> tuple[int, ...]:
    # The tokenizer never joins what a space parts, so a sentence's tokens are those of its words.
    return tuple(_tokenizer().encode(word.lower()))


@cache
def _tokenizer() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer()


def _truth(scenes: Sequence[Scene], asked: Sequence[set[int]]) -> Tensor:
    truth = torch.zeros(len(scenes), len(asked))
    for row, scene in enumerate(scenes):
        shown = {thing.concept for thing in scene.things}
        for column, concepts in enumerate(asked):
            if shown & concepts:
                truth[row, column] = 1.0
    return truth
