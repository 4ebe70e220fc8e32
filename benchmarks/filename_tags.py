"""How well names are found by some of their words, by the number of dimensions that the words are hashed into.

    python -m benchmarks.filename_tags

Names are of three to five words out of some hundreds, in folders, numbered, in several styles. Asked for by all words
in another order, a name is found when nothing else is as near (R@1). Asked for by one or two words that k names have,
the share of those k among the first k is counted.
"""

import argparse
import random
import time
from dataclasses import dataclass

import numpy as np

from encoders.encoder import Vectors
from encoders.filename_tags import FilenameTagsEncoder
from schemas.events import ImageFacts

SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "va", "we", "xi")
STYLES = ("_", "-", " ", "camel")
FACTS = ImageFacts(width=1200, height=900, format="jpeg", camera="Canon EOS 5D")


@dataclass(frozen=True)
class Named:
    """A key, and the words of its name in the order in which they are asked for."""

    key: str
    words: tuple[str, ...]


def names(count: int, *, seed: int, vocabulary: int = 400) -> list[Named]:
    """Keys, no two of the same set of words."""
    chance = random.Random(seed)
    words = sorted({"".join(chance.choices(SYLLABLES, k=chance.randint(2, 3))) for _ in range(vocabulary)})
    made: dict[frozenset[str], Named] = {}
    while len(made) < count:
        chosen = chance.sample(words, chance.randint(3, 5))
        if frozenset(chosen) in made:
            continue
        style = chance.choice(STYLES)
        name = "".join(map(str.title, chosen)) if style == "camel" else style.join(chosen)
        key = f"catalog/season {chance.randrange(20)}/{name}-{chance.randrange(100):02}.jpg"
        made[frozenset(chosen)] = Named(key, tuple(chance.sample(chosen, len(chosen))))
    return list(made.values())


def embed(encoder: FilenameTagsEncoder, named: list[Named]) -> Vectors:
    """The vectors of the images that are called so, without their pixels."""
    return encoder.forward([encoder.prepare_named(FACTS, one.key) for one in named])


def recall(encoder: FilenameTagsEncoder, named: list[Named], images: Vectors) -> float:
    """The share of the first 1,000 names that are nearest to all their words, and alone so."""
    asked = named[:1000]
    cosines = encoder.encode_text([" ".join(one.words) for one in asked]) @ images.T
    rows = np.arange(len(asked))
    own = cosines[rows, rows].copy()
    cosines[rows, rows] = -1
    return float((own > cosines.max(axis=1)).mean())


def precision(encoder: FilenameTagsEncoder, named: list[Named], images: Vectors, words: int) -> float:
    """Of the k names that have all of so many words, the share among the first k; the mean of 300 questions."""
    asked = [one.words[:words] for one in named[:300]]
    cosines = encoder.encode_text([" ".join(query) for query in asked]) @ images.T
    everything = [set(one.words) for one in named]
    shares = []
    for query, row in zip(asked, cosines, strict=True):
        having = np.array([having.issuperset(query) for having in everything])
        shares.append(having[np.argsort(-row)[: having.sum()]].mean())
    return float(np.mean(shares))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, nargs="+", default=[1_000, 20_000])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[128, 256, 512, 1024, 2048])
    arguments = parser.parse_args()
    for count in arguments.names:
        named = names(count, seed=count)
        for dimension in arguments.dimensions:
            encoder = FilenameTagsEncoder(dimension)
            began = time.perf_counter()
            images = embed(encoder, named)
            seconds = time.perf_counter() - began
            one, two = (precision(encoder, named, images, words) for words in (1, 2))
            print(
                f"{count:>7,} names  {dimension:>5} dimensions  all words: R@1 {recall(encoder, named, images):.4f}  "
                f"one word: {one:.4f}  two words: {two:.4f}  {count / seconds:,.0f} names a second"
            )


if __name__ == "__main__":
    main()
