"""Vocabularies: what a file may hold, what replaces what, and the sentence for each mistake."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.vocabulary import DEFAULT_TEMPLATES, LONGEST_TAG, MOST_TAGS, Vocabulary, make_vocabulary
from schemas.errors import ConfigurationError

words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
tags = st.lists(words, min_size=1, max_size=3).map(" ".join).filter(lambda tag: len(tag) <= LONGEST_TAG)
distinct_tags = st.lists(tags, min_size=1, max_size=20, unique_by=str.casefold)


def read(folder: Path, text: str, *, defaults: bool) -> Vocabulary:
    file = folder / "tags.txt"
    file.write_text(text, encoding="utf-8")
    return make_vocabulary(file=file, defaults=defaults)


def test_without_a_word_the_tags_are_those_that_photo_tagger_had() -> None:
    vocabulary = make_vocabulary()
    assert ", ".join(vocabulary.tags) == (
        "cat, dog, car, landscape, party, food, beach, city, children, sport, Victory Day, veterans, celebration, "
        "military"
    )
    assert vocabulary.prompts[0] == tuple(template.replace("{}", "cat") for template in DEFAULT_TEMPLATES)


def test_a_file_has_a_tag_a_line_comments_and_prompts_of_its_own(tmp_path: Path) -> None:
    text = (
        "\ufeff# ours\n\nmug\r\n  Victory  Day \ncrane: a photo of a crane | crane at work|\n# cat\nзима: {} в лесу\nx:"
    )
    vocabulary = read(tmp_path, text, defaults=False)
    assert vocabulary.tags == ("mug", "Victory Day", "crane", "зима", "x")
    prompts = dict(zip(vocabulary.tags, vocabulary.prompts, strict=True))
    assert prompts["crane"] == ("a photo of a crane", "crane at work")
    assert prompts["зима"] == ("зима в лесу",)
    assert prompts["x"] == tuple(template.replace("{}", "x") for template in DEFAULT_TEMPLATES)


def test_own_tags_stand_beside_the_default_ones_and_replace_those_of_the_same_name(tmp_path: Path) -> None:
    vocabulary = read(tmp_path, "mug\nCAT: a tiger\n", defaults=True)
    assert len(vocabulary) == 15
    assert vocabulary.tags[0] == "CAT"
    assert vocabulary.prompts[0] == ("a tiger",)
    assert vocabulary.tags[-1] == "mug"


def test_the_settings_come_after_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tags.txt"
    file.write_text("mug: of the file\njug", encoding="utf-8")
    vocabulary = make_vocabulary(["mug: of the settings"], file=file, defaults=False)
    assert vocabulary.tags == ("mug", "jug")
    assert vocabulary.prompts[0] == ("of the settings",)


def test_templates_replace_the_default_ones() -> None:
    vocabulary = make_vocabulary(["mug"], defaults=False, templates=["a sketch of a {}", "{} and {}"])
    assert vocabulary.prompts == (("a sketch of a mug", "mug and mug"),)


@given(distinct_tags)
def test_tags_come_back_as_they_were_written_in_their_order(names: list[str]) -> None:
    assert make_vocabulary(names, defaults=False).tags == tuple(names)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (": a prompt without a tag\n", "line 1 of .*tags.txt: ': a prompt"),
        ("mug\n" + "x" * (LONGEST_TAG + 1), "line 2 of"),
        ("bell\x07", "line 1 of"),
        ("# nothing\n", "holds no tags; name some in SIGHTLINE_TAGS__VOCABULARY"),
        ("\n".join(f"t{n}" for n in range(MOST_TAGS + 1)), f"{MOST_TAGS + 1} tags, more than {MOST_TAGS}"),
    ],
)
def test_a_vocabulary_that_cannot_work_is_told_by_file_and_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        read(tmp_path, text, defaults=False)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.txt cannot be read \(No such file"):
        make_vocabulary(file=tmp_path / "gone.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ConfigurationError, match=r"latin\.txt is not UTF-8 \(byte 3\)"):
        make_vocabulary(file=tmp_path / "latin.txt")


def test_a_template_without_a_place_for_the_tag_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'a photo' has no place for the tag; write for example 'a photo of"):
        make_vocabulary(templates=["a photo"])
