"""The words in a name: `catalog/RedShoes_01.jpg` says catalog, red, shoe, redshoes and 1.

Names are written in every way: camelCase, snake_case, numbers glued to words, any script, any Unicode form. Words
are compared after NFKC, case folding and without accents; English plurals are folded lightly (after Harman's
S-stemmer, 1991).
"""

import re
import unicodedata
from functools import lru_cache

_UNSPACED = ("CJK ", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""How the Unicode names of letters begin whose languages put no spaces between words, or glue much to them."""

_RUNS = re.compile(r"[Al]+|d+|u+")
_CASES = re.compile(r"A+(?!l)|A?l+")
_ACCENTS = re.compile("[\u0300-\u036f]")
_APOSTROPHES = str.maketrans("", "", "'\u2019\u02bc")
_PLURALS = (
    (re.compile(r"(?<![ae])ies$"), "y"),
    (re.compile(r"(ss|sh|ch|x)es$"), r"\1"),
    (re.compile(r"(?<![us])s$"), ""),
)


def words_of(text: str) -> list[str]:
    """The words of a text, in order.

    A run of letters whose case marks parts is given in its parts and as a whole. Of languages without spaces each
    letter is a word, and each pair of neighbours.
    """
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES))
    kinds = "".join(map(_kind, text))
    words: list[str] = []
    for run in _RUNS.finditer(kinds):
        letters = text[run.start() : run.end()]
        if run.group()[0] == "d":
            words.append(letters.lstrip("0") or "0")
        elif run.group()[0] == "u":
            words += [*letters, *(letters[at : at + 2] for at in range(len(letters) - 1))]
        else:
            parts = [letters[part.start() : part.end()] for part in _CASES.finditer(run.group())]
            words += [_folded(part) for part in ([*parts, letters] if len(parts) > 1 else parts)]
    return words


def _folded(word: str) -> str:
    bare = _ACCENTS.sub("", unicodedata.normalize("NFD", word.casefold()))
    word = unicodedata.normalize("NFKC", bare)
    if len(word) > 3 and word.isascii():
        for plural, singular in _PLURALS:
            if plural.search(word):
                return plural.sub(singular, word)
    return word


@lru_cache(maxsize=65536)
def _kind(character: str) -> str:
    """A: a capital letter, l: another letter or a mark on one, u: a letter of `_UNSPACED`, d: a digit."""
    category = unicodedata.category(character)
    if category[0] in "LM":
        if unicodedata.name(character, "").startswith(_UNSPACED):
            return "u"
        return "A" if category in ("Lu", "Lt") else "l"
    return "d" if category == "Nd" else " "
