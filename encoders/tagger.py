"""Zero-shot tags: which words of a vocabulary an image's vector is nearest to, and how sure the model is.

A tag's direction is the mean of its prompts' unit vectors, made a unit again (Radford et al. 2021). The cosines of an
image with all tags become probabilities as the model was trained: softmax over the vocabulary, or a sigmoid for each
tag alone. Pure functions of vectors: no image is needed to tag anew.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from encoders.encoder import Scoring, Vectors
from encoders.engine import EncoderEngine
from encoders.vocabulary import Vocabulary
from schemas.errors import ConfigurationError
from schemas.events import EncoderIdentity, Tag

DEFAULT_TOP_K = 4

_REVISION = 1
"""Raised with every change of the computation, so that the version changes with it."""
_PROMPTS_AT_ONCE = 64
"""Prompts asked of the engine in one go: whoever searches meanwhile waits for no more than these."""
_NUMBERS_AT_ONCE = 4_000_000
"""Scores computed in one go: 16 MB, and as much again on the way."""


class TagsImpossible(ConfigurationError):
    """The model cannot tag; the message says why and what to do."""


@dataclass(frozen=True)
class Ranking:
    """The best tags of n images, the best first: `tags` indexes the vocabulary, `scores` are probabilities.

    Both of shape (n, k), int64 and float64, k being `top_k` or the size of the vocabulary if that is less.
    """

    tags: NDArray[np.int64]
    scores: NDArray[np.float64]


class Tagger:
    """Tags for the vectors of one encoder. Immutable, and safe to use from several threads.

    `directions`: unit vectors of shape (tags, d). At most `top_k` tags an image, none below `least_score`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        directions: Vectors,
        scoring: Scoring,
        *,
        encoder: EncoderIdentity,
        top_k: int = DEFAULT_TOP_K,
        least_score: float = 0.0,
    ) -> None:
        if top_k < 1:
            raise ConfigurationError(f"top_k is {top_k}; ask for 1 tag or more")
        if directions.shape != (len(vocabulary), encoder.dimension) or not np.isfinite(directions).all():
            raise ValueError(f"{len(vocabulary)} tags need as many finite vectors of {encoder.dimension} numbers")
        self.vocabulary = vocabulary
        self.top_k = min(top_k, len(vocabulary))
        self.least_score = least_score
        self._directions = np.ascontiguousarray(directions.T, dtype=np.float32)
        self._scoring = scoring
        self._encoder = encoder
        self.version = _version(vocabulary, scoring, encoder, self.top_k, least_score)
        """Equal only where the same vector gets the same tags; kept beside the tags, to tell which are out of date."""

    @property
    def directions(self) -> Vectors:
        """The tags' unit vectors, of shape (tags, d)."""
        return self._directions.T

    @classmethod
    async def build(
        cls, vocabulary: Vocabulary, engine: EncoderEngine, *, top_k: int = DEFAULT_TOP_K, least_score: float = 0.0
    ) -> Self:
        """Ask an entered engine for the prompts' vectors. Raises `TagsImpossible` where its words name no pictures."""
        encoder = engine.encoder
        if encoder.scoring is None:
            raise TagsImpossible(
                f"{encoder.identity.model} cannot tag images: nothing says how near its words must be to what they "
                "name. Choose a CLIP or SigLIP model with --model (`sightline models` lists them), or set "
                "SIGHTLINE_TAGS__ENABLED=false"
            )
        prompts = [prompt for several in vocabulary.prompts for prompt in several]
        try:
            vectors = [
                await engine.embed_texts(prompts[at : at + _PROMPTS_AT_ONCE])
                for at in range(0, len(prompts), _PROMPTS_AT_ONCE)
            ]
        except ConfigurationError as error:
            raise TagsImpossible(
                f"{encoder.identity.model} cannot tag images, since it cannot read the tags: {error}"
            ) from error
        return cls(
            vocabulary,
            ensembled(np.concatenate(vectors), [len(several) for several in vocabulary.prompts]),
            encoder.scoring,
            encoder=encoder.identity,
            top_k=top_k,
            least_score=least_score,
        )

    def giving(self, top_k: int) -> Self:
        """The same with another number of tags for each image."""
        return type(self)(
            self.vocabulary,
            self.directions,
            self._scoring,
            encoder=self._encoder,
            top_k=top_k,
            least_score=self.least_score,
        )

    def rank(self, vectors: Vectors) -> Ranking:
        """The best tags of unit vectors of shape (n, d), whatever their score."""
        tags = np.empty((len(vectors), self.top_k), dtype=np.int64)
        scores = np.empty((len(vectors), self.top_k), dtype=np.float64)
        for rows in self._batches(len(vectors)):
            logits: Vectors = np.asarray(vectors[rows], dtype=np.float32) @ self._directions
            logits *= np.float32(self._scoring.scale)
            # By logits, since several probabilities may round to the same 0 or 1.
            tags[rows] = _best(logits, self.top_k)
            scores[rows] = self._probabilities(logits, tags[rows])
        return Ranking(tags, scores)

    def tags(self, vectors: Vectors) -> list[tuple[Tag, ...]]:
        """The tags of each image, the best first, for unit vectors of shape (n, d)."""
        ranking = self.rank(vectors)
        names = self.vocabulary.tags
        return [
            tuple(
                Tag(tag=names[tag], score=score)
                for tag, score in zip(tags, scores, strict=True)
                if score >= self.least_score
            )
            for tags, scores in zip(ranking.tags.tolist(), ranking.scores.tolist(), strict=True)
        ]

    def _batches(self, images: int) -> Iterator[slice]:
        step = max(1, _NUMBERS_AT_ONCE // len(self.vocabulary))
        return (slice(at, at + step) for at in range(0, images, step))

    def _probabilities(self, logits: Vectors, best: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of the tags `best` among all, from scaled cosines of shape (n, tags)."""
        chosen = np.take_along_axis(logits, best, axis=1).astype(np.float64)
        if self._scoring.kind == "sigmoid":
            # Beyond 700 the exponential overflows.
            alone: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(chosen + self._scoring.bias, -700, 700)))
            return alone
        highest = logits.max(axis=1, keepdims=True)
        shares: NDArray[np.float64] = np.exp(chosen - highest)
        shares /= np.exp(logits - highest).sum(axis=1, keepdims=True, dtype=np.float64)
        return np.minimum(shares, 1.0)


def ensembled(vectors: Vectors, counts: list[int]) -> Vectors:
    """The mean direction of each run of `counts` unit vectors: shape (len(counts), d). Raises where there is none."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    means = np.add.reduceat(vectors.astype(np.float64), starts, axis=0)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    if not (lengths > 1e-6).all():
        raise TagsImpossible(
            "the model gives the prompts of a tag opposite vectors, so they have no common direction; it is not made "
            "for words, or its weights are broken. Set SIGHTLINE_TAGS__ENABLED=false, or choose another model"
        )
    directions: Vectors = (means / lengths).astype(np.float32)
    return directions


def _best(logits: Vectors, count: int) -> NDArray[np.int64]:
    """The columns of the `count` largest in each row, the largest first; equals in the order of their columns."""
    if count < logits.shape[1]:
        found = np.argpartition(logits, -count, axis=1)[:, -count:]
        found.sort(axis=1)
    else:
        found = np.broadcast_to(np.arange(count), logits.shape)
    order = np.argsort(-np.take_along_axis(logits, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def _version(vocabulary: Vocabulary, scoring: Scoring, encoder: EncoderIdentity, top_k: int, least_score: float) -> str:
    decides = [
        _REVISION,
        vocabulary.tags,
        vocabulary.prompts,
        [scoring.kind, scoring.scale, scoring.bias],
        encoder.fingerprint,
        top_k,
        least_score,
    ]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]
