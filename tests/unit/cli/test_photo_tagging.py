"""Taggers for whatever tags a request names, by a real model of open_clip's own classes."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from cli.photo_tagging import KEPT_TAGGERS, Taggers
from cli.tagging import make_tagger
from encoders.engine import EncoderEngine
from encoders.hashing import HashingEncoder
from encoders.registry import make_encoder
from encoders.tagger import TagsImpossible
from encoders.vocabulary import DEFAULT_TAGS
from runtime.settings import TagSettings
from tests.unit.encoders.tiny_model import write_tiny_model


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EncoderEngine]:
    async with EncoderEngine(make_encoder(str(write_tiny_model(tmp_path / "tiny")), device="cpu")) as engine:
        yield engine


async def test_tags_are_taken_letter_for_letter_and_none_are_those_of_the_settings(engine: EncoderEngine) -> None:
    taggers = Taggers(TagSettings(), engine)
    vectors = await engine.embed_texts(["a photo of a cat"])
    asked = ("cat", "CAT", "time: 12:30", "a | b")
    (tags,) = (await taggers.tagger(asked, 10)).tags(vectors)
    assert {tag.tag for tag in tags} == set(asked)
    assert sum(tag.score for tag in tags) == pytest.approx(1)
    (defaults,) = (await taggers.tagger((), 100)).tags(vectors)
    assert {tag.tag for tag in defaults} == set(DEFAULT_TAGS)
    own = Taggers(TagSettings(vocabulary=("mug",), defaults=False), engine)
    assert [tag.tag for tag in (await own.tagger((), 4)).tags(vectors)[0]] == ["mug"]


async def test_the_number_of_tags_changes_nothing_else_and_asks_the_model_no_more(engine: EncoderEngine) -> None:
    taggers = Taggers(TagSettings(), engine)
    vectors = await engine.embed_texts(["a photo of a beach", "dogs"])
    everything = (await taggers.tagger(("cat", "dog", "beach"), 3)).tags(vectors)
    asked = engine.embed_texts
    engine.embed_texts = None  # type: ignore[assignment, method-assign]
    two = (await taggers.tagger(("cat", "dog", "beach"), 2)).tags(vectors)
    engine.embed_texts = asked  # type: ignore[method-assign]
    assert [list(tags) for tags in two] == [list(tags[:2]) for tags in everything]


async def test_the_default_tags_have_the_version_that_the_embedder_gives_them(engine: EncoderEngine) -> None:
    settings = TagSettings()
    assert (await Taggers(settings, engine).tagger((), 4)).version == (await make_tagger(settings, engine)).version


async def test_only_the_latest_sets_are_kept(engine: EncoderEngine) -> None:
    taggers = Taggers(TagSettings(templates=("{}",)), engine)
    first = await taggers.tagger(("first",), 1)
    for n in range(KEPT_TAGGERS):
        await taggers.tagger((f"tag {n}",), 1)
    again = await taggers.tagger(("first",), 1)
    assert again.version == first.version
    assert np.allclose(again.directions, first.directions, atol=1e-6)
    assert len(taggers._made) == KEPT_TAGGERS


async def test_a_model_whose_words_name_no_pictures_cannot_tag() -> None:
    async with EncoderEngine(HashingEncoder()) as engine:
        with pytest.raises(TagsImpossible, match="hashing cannot tag"):
            await Taggers(TagSettings(), engine).tagger(("cat",), 4)
