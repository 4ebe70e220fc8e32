"""Close matches for a name that is nobody's."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A clause with close matches, or nothing: "; did you mean ViT-B-32 or ViT-B-16?"."""
    by_folded = {one.casefold(): one for one in known}
    word = word.casefold()
    begins = [one for one in by_folded if word and one.startswith(word)]
    close = list(dict.fromkeys([*begins, *difflib.get_close_matches(word, by_folded, n=3, cutoff=0.6)]))[:3]
    return f"; did you mean {' or '.join(by_folded[one] for one in close)}?" if close else ""
