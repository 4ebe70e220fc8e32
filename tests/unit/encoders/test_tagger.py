"""Tags as probabilities: exact values, open_clip's own zero-shot classifier, and what makes tags out of date."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders import tagger as module
from encoders.clip import OpenClipEncoder
from encoders.encoder import Encoder, Scoring, Vectors
from encoders.engine import EncoderEngine
from encoders.hashing import HashingEncoder
from encoders.tagger import Tagger, TagsImpossible, ensembled
from encoders.vocabulary import DEFAULT_TEMPLATES, Vocabulary, make_vocabulary
from schemas.errors import ConfigurationError
from schemas.events import EncoderIdentity
from tests.unit.encoders.tiny_model import write_tiny_model

DIMENSION = 4
ENCODER = EncoderIdentity(model="tiny", fingerprint="a-b-float32", dimension=DIMENSION)
ABC = make_vocabulary(["a", "b", "c"], defaults=False, templates=["{}"])
AXES = np.eye(3, DIMENSION, dtype=np.float32)
VECTOR = np.array([[0.6, 0.0, 0.8, 0.0]], dtype=np.float32)
"""Its cosines with a, b and c are 0.6, 0 and 0.8."""


def tagger(scoring: Scoring, **options: Any) -> Tagger:
    return Tagger(ABC, AXES, scoring, encoder=ENCODER, **options)


def unit(vectors: Vectors) -> Vectors:
    made: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return made


def random_vectors(count: int, seed: int, dimension: int = DIMENSION) -> Vectors:
    return unit(np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32))


def test_softmax_shares_one_among_all_tags_by_the_models_scale() -> None:
    (tags,) = tagger(Scoring("softmax", 5.0)).tags(VECTOR)
    shares = {"a": math.exp(5 * 0.6), "b": math.exp(0), "c": math.exp(5 * 0.8)}
    assert [one.tag for one in tags] == ["c", "a", "b"]
    assert [one.score for one in tags] == pytest.approx(
        [shares[one.tag] / sum(shares.values()) for one in tags], abs=1e-7
    )


def test_sigmoid_judges_each_tag_alone_by_scale_and_bias() -> None:
    (tags,) = tagger(Scoring("sigmoid", 10.0, -7.0)).tags(VECTOR)
    expected = [1 / (1 + math.exp(-(10 * cosine - 7))) for cosine in (0.8, 0.6, 0.0)]
    assert [one.tag for one in tags] == ["c", "a", "b"]
    assert [one.score for one in tags] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("scoring", [Scoring("softmax", 5.0), Scoring("sigmoid", 5.0, -3.0)])
def test_the_best_few_keep_the_scores_that_they_have_among_all(scoring: Scoring) -> None:
    (all_tags,) = tagger(scoring, top_k=3).tags(VECTOR)
    for k in (1, 2):
        assert tagger(scoring, top_k=k).tags(VECTOR) == [all_tags[:k]]


def test_no_more_tags_are_answered_than_there_are() -> None:
    (tags,) = tagger(Scoring("softmax", 5.0), top_k=40).tags(VECTOR)
    assert len(tags) == 3
    with pytest.raises(ConfigurationError, match="top_k is 0"):
        tagger(Scoring("softmax", 5.0), top_k=0)


def test_tags_below_the_least_score_are_left_out() -> None:
    assert [one.tag for one in tagger(Scoring("sigmoid", 10.0, -7.0), least_score=0.5).tags(VECTOR)[0]] == ["c"]
    assert tagger(Scoring("sigmoid", 10.0, -9.0), least_score=0.5).tags(VECTOR) == [()]


def test_probabilities_that_round_to_one_or_nothing_keep_their_order_and_are_finite() -> None:
    for scoring in (Scoring("sigmoid", 1e5, 50.0), Scoring("sigmoid", 1e5, -1e6), Scoring("softmax", 1e5)):
        (tags,) = tagger(scoring).tags(VECTOR)
        assert [one.tag for one in tags] == ["c", "a", "b"]
        assert all(0 <= one.score <= 1 for one in tags)


def test_equals_come_in_the_order_of_the_vocabulary() -> None:
    level = np.full((1, DIMENSION), 0.5, dtype=np.float32)
    assert [one.tag for one in tagger(Scoring("softmax", 5.0)).tags(level)[0]] == ["a", "b", "c"]


def test_no_vectors_have_no_tags() -> None:
    assert tagger(Scoring("softmax", 5.0)).tags(np.zeros((0, DIMENSION), dtype=np.float32)) == []


@settings(deadline=None)
@given(
    images=st.integers(1, 40),
    count=st.integers(1, 30),
    top_k=st.integers(1, 35),
    kind=st.sampled_from(["softmax", "sigmoid"]),
    seed=st.integers(0, 1000),
    at_once=st.integers(1, 200),
)
def test_any_batching_answers_what_the_plain_formula_says(
    images: int, count: int, top_k: int, kind: Any, seed: int, at_once: int
) -> None:
    vocabulary = make_vocabulary([f"t{n}" for n in range(count)], defaults=False)
    directions, vectors = random_vectors(count, seed), random_vectors(images, seed + 1)
    made = Tagger(vocabulary, directions, Scoring(kind, 12.0, -4.0), encoder=ENCODER, top_k=top_k)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_NUMBERS_AT_ONCE", at_once)
        answers = made.tags(vectors)
    logits = 12.0 * (vectors.astype(np.float64) @ directions.T.astype(np.float64))
    powers = np.exp(logits)
    chances = powers / powers.sum(axis=1, keepdims=True) if kind == "softmax" else 1 / (1 + np.exp(-(logits - 4.0)))
    assert len(answers) == images
    for tags, row in zip(answers, chances, strict=True):
        assert [one.score for one in tags] == pytest.approx(sorted(row, reverse=True)[: min(top_k, count)], abs=1e-5)
        assert len({one.tag for one in tags}) == len(tags)
        for one in tags:
            assert one.score == pytest.approx(row[int(one.tag[1:])], abs=1e-5)


# Prompts


@dataclass
class FakeEncoder:
    identity: EncoderIdentity = ENCODER
    scoring: Scoring | None = field(default_factory=lambda: Scoring("softmax", 5.0))


@dataclass
class FakeEngine:
    """Known vectors for known prompts."""

    vectors: dict[str, Sequence[float]] = field(default_factory=dict)
    encoder: FakeEncoder = field(default_factory=FakeEncoder)
    failure: Exception | None = None
    asked: list[int] = field(default_factory=list)

    async def embed_texts(self, texts: Sequence[str]) -> Vectors:
        if self.failure:
            raise self.failure
        self.asked.append(len(texts))
        return np.array([self.vectors.get(text, (1, 0, 0, 0)) for text in texts], dtype=np.float32)


async def built(vocabulary: Vocabulary, engine: FakeEngine, **options: Any) -> Tagger:
    return await Tagger.build(vocabulary, cast("EncoderEngine", engine), **options)


async def test_a_tag_is_the_direction_between_its_prompts() -> None:
    vocabulary = make_vocabulary(["a: one | two", "b: three"], defaults=False)
    engine = FakeEngine({"one": (1, 0, 0, 0), "two": (0, 1, 0, 0), "three": (0, 0, 1, 0)})
    made = await built(vocabulary, engine, top_k=1)
    half = math.sqrt(0.5)
    (tags,) = made.tags(np.array([[half, half, 0, 0]], dtype=np.float32))
    assert tags[0].tag == "a"
    assert tags[0].score == pytest.approx(math.exp(5) / (math.exp(5) + 1), abs=1e-6)


async def test_many_prompts_are_asked_for_in_pieces_so_that_searches_come_between() -> None:
    engine = FakeEngine()
    await built(make_vocabulary([f"t{n}" for n in range(100)]), engine)
    assert sum(engine.asked) == 114 * len(DEFAULT_TEMPLATES)
    assert max(engine.asked) <= 64


async def test_a_model_whose_words_name_no_pictures_cannot_tag() -> None:
    async with EncoderEngine(HashingEncoder()) as engine:
        with pytest.raises(TagsImpossible, match=r"hashing cannot tag images: .*SIGHTLINE_TAGS__ENABLED=false"):
            await Tagger.build(ABC, engine)


async def test_a_model_without_a_tokenizer_cannot_tag_and_says_what_is_missing() -> None:
    engine = FakeEngine(failure=ConfigurationError("its tokenizer is not on this machine"))
    with pytest.raises(TagsImpossible, match=r"tiny cannot tag images.*its tokenizer is not on this machine"):
        await built(ABC, engine)


def test_prompts_that_cancel_each_other_are_told() -> None:
    with pytest.raises(TagsImpossible, match="opposite vectors"):
        ensembled(np.array([[1, 0], [-1, 0]], dtype=np.float32), [2])


def test_directions_that_are_no_numbers_never_become_tags() -> None:
    broken = AXES.copy()
    broken[1, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        Tagger(ABC, broken, Scoring("softmax", 5.0), encoder=ENCODER)


async def test_directions_and_tags_are_those_of_open_clips_own_zero_shot_classifier(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "tiny", seed=3)
    vocabulary = make_vocabulary(["two red apples", "café"])
    async with EncoderEngine(OpenClipEncoder(str(folder), device="cpu"), batch_size=8) as engine:
        assert isinstance(engine.encoder, OpenClipEncoder)
        made = await Tagger.build(vocabulary, engine, top_k=len(vocabulary))
        noise = np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), dtype=np.uint8)
        vectors = _forward(engine.encoder, [Image.fromarray(one) for one in noise])
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    with torch.inference_mode():
        theirs = open_clip.build_zero_shot_classifier(
            model,
            open_clip.get_tokenizer(f"local-dir:{folder}"),
            list(vocabulary.tags),
            [lambda tag, template=template: template.replace("{}", tag) for template in DEFAULT_TEMPLATES],
        ).numpy()
        logits = model.logit_scale.exp().item() * (vectors @ theirs)
        chances = torch.from_numpy(logits).softmax(dim=1).numpy()
    assert (made.directions * theirs.T).sum(axis=1).min() >= 0.9999
    for tags, row in zip(made.tags(vectors), chances, strict=True):
        assert [vocabulary.tags.index(one.tag) for one in tags] == list(np.argsort(-row, kind="stable"))
        assert [one.score for one in tags] == pytest.approx(sorted(row, reverse=True), abs=1e-5)


def _forward(encoder: Encoder, images: list[Image.Image]) -> Vectors:
    return encoder.forward([encoder.prepare(image) for image in images])


# Versions


def version(
    vocabulary: Vocabulary = ABC,
    scoring: Scoring = Scoring("softmax", 5.0),
    encoder: EncoderIdentity = ENCODER,
    **o: Any,
) -> str:
    directions = np.eye(len(vocabulary), DIMENSION, dtype=np.float32)
    return Tagger(vocabulary, directions, scoring, encoder=encoder, **o).version


def test_the_version_changes_with_all_that_decides_the_tags_and_with_nothing_else() -> None:
    others = [
        version(make_vocabulary(["a", "b"], defaults=False, templates=["{}"])),
        version(make_vocabulary(["b", "a", "c"], defaults=False, templates=["{}"])),
        version(make_vocabulary(["a", "b", "c"], defaults=False, templates=["a {}"])),
        version(make_vocabulary(["a", "b", "c: d"], defaults=False, templates=["{}"])),
        version(scoring=Scoring("softmax", 6.0)),
        version(scoring=Scoring("sigmoid", 5.0)),
        version(scoring=Scoring("sigmoid", 5.0, -1.0)),
        version(encoder=ENCODER.model_copy(update={"fingerprint": "other-b-float32"})),
        version(top_k=2),
        version(least_score=0.1),
    ]
    assert len({version(), *others}) == 1 + len(others)
    assert version() == version(make_vocabulary(["a", "b", "c"], defaults=False, templates=["{}"]))
    assert version(top_k=3) == version(top_k=30), "more than there are asks for no more"
