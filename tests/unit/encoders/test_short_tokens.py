"""Tokens without padding: of any text those of open_clip, to the end of the longest."""

import open_clip
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

from encoders.short_tokens import ShortTokens, can_be_unpadded, cleaned

THEIRS = SimpleTokenizer(context_length=12)
ASCII = st.text(st.characters(max_codepoint=127))
PARTS = ["&", "amp;", "lt", ";", "<", " ", "\t", "\r\n", "\x1b[31m", "\x85", "Ã©", "é", "’", "ﬁ"]
ODD = st.lists(st.sampled_from(PARTS)).map("".join)
SPECIAL = st.lists(st.sampled_from(["a", "Dog's", "<end_of_text>", "<start_of_text>", "🐶", "7", "!?"])).map(" ".join)
TEXTS = st.text() | ASCII | ODD | SPECIAL


@given(TEXTS)
@example("Fish &amp; chips")
@example("&amp;lt;")
@example("two\nlines")
@example("\x1b[31mred")
@example("  a  Red   BOAT ")
@example("\x00\x7f")
def test_a_text_is_cleaned_as_open_clip_cleans_it(text: str) -> None:
    assert cleaned(text) == get_clean_fn("lower")(text)


@given(st.lists(TEXTS | st.just("a very old wooden boat on a lake at dusk in the rain again"), min_size=1, max_size=4))
@example([""])
@example(["", "a red boat"])
def test_tokens_are_those_of_open_clip_without_the_padding(texts: list[str]) -> None:
    ours, theirs = ShortTokens(THEIRS)(texts), THEIRS(texts)
    longest = int((theirs == THEIRS.eot_token_id).int().flip(1).argmax(dim=1).min())
    assert ours.dtype == theirs.dtype
    assert ours.shape == (len(texts), 12 - longest)
    assert torch.equal(ours, theirs[:, : ours.shape[1]])


@pytest.mark.parametrize("options", [{"clean": "canonicalize"}, {"clean": "whitespace"}, {"reduction_mask": "simple"}])
def test_a_tokenizer_with_rules_of_its_own_is_left_as_it_is(options: dict[str, str]) -> None:
    assert can_be_unpadded(open_clip.get_tokenizer("ViT-B-32"))
    assert not can_be_unpadded(SimpleTokenizer(**options))
    assert not can_be_unpadded(None)
