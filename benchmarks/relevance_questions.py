"""Questions whose right answers are known, asked of drawn scenes or of names."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.filename_tags import SYLLABLES, embed, names
from benchmarks.sightline_small.captions import Scene, Thing, imagine, imagine_background, name_of
from benchmarks.sightline_small.concepts import read_concepts, read_sprite
from encoders.encoder import Encoder, Vectors
from encoders.filename_tags import FilenameTagsEncoder
from imaging.sample_scenes import NUMBERS, plural, with_article
from imaging.scenes import COLOURS, MOST, PATTERNS, UNSEEN_PATTERNS, Sprite, compose
from services.search.ranking.relevance import USUAL_WORDS

Truth = NDArray[np.bool_]
"""Shape (questions, images): which images are right answers."""

ALL_PATTERNS = (*PATTERNS, *UNSEEN_PATTERNS)
SIZE = (320, 240)
BATCH = 64
UNANSWERABLE = 0.2
"""How much the questions without right answers count, by weight: few people ask for what is not there."""


@dataclass(frozen=True)
class Questions:
    """What is asked of a collection. `kinds` read "name/few"; behind the slash is none where nothing is right."""

    kinds: Sequence[str]
    vectors: Vectors
    from_images: Truth
    right: Truth
    collection: Vectors
    words: Vectors
    model: str = ""

    @property
    def answerable(self) -> Truth:
        """Of shape (questions,): whether anything is right."""
        return np.asarray(self.right.any(axis=1), dtype=np.bool_)

    @property
    def weights(self) -> NDArray[np.float64]:
        """What each question counts; they add up to 1."""
        some = self.answerable
        each, other = (1 - UNANSWERABLE) / some.sum(), UNANSWERABLE / max(1, (~some).sum())
        weights: NDArray[np.float64] = np.where(some, each, other).astype(np.float64)
        return weights


class Drawer:
    """Draws scenes and embeds them, and words, with a model of pictures."""

    def __init__(self, encoder: Encoder, seed: int) -> None:
        self.random = np.random.default_rng([seed, 0x4E1])
        self._encoder = encoder
        concepts = read_concepts()
        self.names = [concept.name for concept in concepts]
        self._sprites = [Sprite(read_sprite(concept)) for concept in concepts]

    def images(self, scenes: Sequence[Scene]) -> Vectors:
        """Vectors of drawings of scenes."""
        parts = [scenes[at : at + BATCH] for at in range(0, len(scenes), BATCH)]
        return np.concatenate([self._encoder.forward([self._prepared(one) for one in part]) for part in parts])

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts."""
        parts = [texts[at : at + BATCH] for at in range(0, len(texts), BATCH)]
        return np.concatenate([self._encoder.encode_text(part) for part in parts])

    def _prepared(self, scene: Scene) -> NDArray[np.uint8]:
        sprites = [self._sprites[number] for number in scene.pictures]
        file = io.BytesIO()
        compose(sprites, scene.background, SIZE, self.random).save(
            file, "JPEG", quality=int(self.random.integers(60, 96))
        )
        return self._encoder.prepare(Image.open(file).convert("RGB"))


def drawn_questions(encoder: Encoder, seed: int, images: int) -> Questions:
    """Scenes of things, some of which come often and four of ten never; and questions about them."""
    drawer = Drawer(encoder, seed)
    random, names_ = drawer.random, drawer.names
    order = random.permutation(len(names_))
    present, absent = np.split(order, [len(order) * 6 // 10])
    chance = 1 / (np.arange(len(present)) + 3.0)
    scenes = [
        imagine(random, random.choice(present, MOST, replace=False, p=chance / chance.sum()).tolist(), ALL_PATTERNS)
        for _ in range(images)
    ]
    shown = np.zeros((len(names_), images), dtype=np.int64)
    for at, scene in enumerate(scenes):
        np.add.at(shown[:, at], scene.pictures, 1)
    coloured = {colour: np.array([scene.background.colour == colour for scene in scenes]) for colour in COLOURS}
    times = (shown > 0).sum(axis=1)
    pools = {
        "many": np.flatnonzero(times >= 40),
        "some": np.flatnonzero((times > 12) & (times < 40)),
        "few": np.flatnonzero((times > 0) & (times <= 12)),
        "none": absent[times[absent] == 0],
    }
    asked: list[tuple[str, str | Scene, Truth]] = []
    for pool, concept in _chosen(random, pools, {"many": 60, "some": 60, "few": 60, "none": 60}):
        asked.append((f"name/{pool}", name_of(names_[concept], random), shown[concept] > 0))
    for pool, concept in _chosen(random, pools, {"many": 40, "some": 40, "none": 40}):
        count = int(random.integers(1, MOST + 1))
        thing = names_[concept] if count == 1 else plural(names_[concept])
        asked.append((f"count/{pool}", f"{NUMBERS[count]} {thing}", shown[concept] == count))
    for pool, concept in _chosen(random, pools, {"many": 40, "some": 40, "none": 40}):
        colour = str(random.choice(list(COLOURS)))
        text = f"{names_[concept]} on {with_article(colour)} background"
        asked.append((f"thing and colour/{pool}", text, (shown[concept] > 0) & coloured[colour]))
    for colour, right in coloured.items():
        asked.append(("colour/many", f"{with_article(colour)} background", right))
    for _ in range(30):
        nonsense = " ".join("".join(random.choice(SYLLABLES, 3)) for _ in range(int(random.integers(1, 3))))
        asked.append(("nonsense/none", nonsense, np.zeros(images, dtype=bool)))
    for pool, concept in _chosen(random, pools, {"many": 60, "some": 60, "few": 60, "none": 60}):
        scene = Scene((Thing(concept, int(random.choice((1, 1, 1, 2, 3)))),), imagine_background(random, ALL_PATTERNS))
        asked.append((f"image/{pool}", scene, shown[concept] > 0))
    of_words = drawer.texts([what for _, what, _ in asked if isinstance(what, str)])
    of_images = drawer.images([what for _, what, _ in asked if isinstance(what, Scene)])
    return Questions(
        kinds=[kind for kind, _, _ in asked],
        vectors=np.concatenate([of_words, of_images]),  # words were asked first
        from_images=np.arange(len(asked)) >= len(of_words),
        right=np.array([right for _, _, right in asked]),
        collection=drawer.images(scenes),
        words=drawer.texts(USUAL_WORDS),
    )


def named_questions(encoder: FilenameTagsEncoder, seed: int, images: int) -> Questions:
    """Names of three to five words out of some hundreds; questions of one or two words, or of none of theirs."""
    random = np.random.default_rng(seed)
    made = names(images + 60, seed=seed)
    named, queried = made[:images], made[images:]
    counted: dict[str, int] = {}
    for one in named:
        for word in one.words:
            counted[word] = counted.get(word, 0) + 1
    has = {word: np.array([word in one.words for one in named]) for word in sorted(counted)}
    asked = [("word/many", word, has[word]) for word in random.permutation(sorted(has))[:80].tolist()]
    for at in random.permutation(len(named))[:80].tolist():
        first, second = random.choice(named[at].words, 2, replace=False).tolist()
        asked.append(("two words/few", f"{first} {second}", has[first] & has[second]))
    for _ in range(60):
        word = "".join(random.choice(("zor", "qui", "bral", "ment", "xyl", "oph"), 3))
        asked.append(("unknown word/none", word, np.zeros(images, dtype=bool)))
    no = np.zeros(images, dtype=bool)
    same = [np.logical_or.reduce([has.get(word, no) for word in one.words]) for one in queried]
    return Questions(
        kinds=[kind for kind, _, _ in asked] + ["image/many"] * len(queried),
        vectors=np.concatenate([encoder.encode_text([text for _, text, _ in asked]), embed(encoder, queried)]),
        from_images=np.arange(len(asked) + len(queried)) >= len(asked),
        right=np.array([right for _, _, right in asked] + same),
        collection=embed(encoder, named),
        words=encoder.encode_text(USUAL_WORDS),
        model=encoder.identity.model,
    )


def _chosen(
    random: np.random.Generator, pools: dict[str, NDArray[np.int64]], most: dict[str, int]
) -> Iterator[tuple[str, int]]:
    for name, count in most.items():
        for concept in random.permutation(pools[name])[:count].tolist():
            yield name, concept
