"""The tags that images may get, and the prompts that ask a model for each.

A vocabulary file has one tag a line, in UTF-8. Empty lines and lines that begin with `#` are skipped. A tag may bring
prompts of its own after a colon, with `|` between them; every other tag gets the templates' prompts:

    # what our shop sells
    mug
    crane: a photo of a construction crane | a crane at a building site
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigurationError

DEFAULT_TAGS = (
    "cat",
    "dog",
    "car",
    "landscape",
    "party",
    "food",
    "beach",
    "city",
    "children",
    "sport",
    "Victory Day",
    "veterans",
    "celebration",
    "military",
)
DEFAULT_TEMPLATES = ("a photo of {}", "a photo of a {}", "a picture of {}", "{}")
"""`{}` stands for the tag. With and without an article, since a tag may be `cat` as well as `food` or `children`."""

MOST_TAGS = 10_000
LONGEST_TAG = 100
"""Characters."""


@dataclass(frozen=True)
class Vocabulary:
    """Tags in order, no two alike but for case, and for each the prompts whose mean direction stands for it."""

    tags: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.tags)


def make_vocabulary(
    own: Sequence[str] = (),
    *,
    file: Path | None = None,
    defaults: bool = True,
    templates: Sequence[str] = (),
) -> Vocabulary:
    """The default tags where `defaults`, those of `file`, and `own`, each written as a line of such a file.

    A later mention replaces an earlier one of the same tag, whatever its case. No `templates`: the default ones.
    Raises `ConfigurationError` for what cannot be read, and for a vocabulary without tags.
    """
    templates = tuple(templates) or DEFAULT_TEMPLATES
    for template in templates:
        if "{}" not in template:
            raise ConfigurationError(
                f"the template {template!r} has no place for the tag; write for example 'a photo of {{}}'"
            )
    prompts: dict[str, tuple[str, tuple[str, ...]]] = {}
    entries = [(tag, "the default tags") for tag in DEFAULT_TAGS] if defaults else []
    entries += _lines(file) if file is not None else []
    entries += [(entry, "the vocabulary in the settings") for entry in own]
    for entry, place in entries:
        tag, asked = _entry(entry, place)
        prompts[tag.casefold()] = tag, tuple(prompt.replace("{}", tag) for prompt in asked or templates)
    if not prompts:
        raise ConfigurationError(
            "the vocabulary holds no tags; name some in SIGHTLINE_TAGS__VOCABULARY or SIGHTLINE_TAGS__VOCABULARY_FILE, "
            "or keep the default ones"
        )
    if len(prompts) > MOST_TAGS:
        raise ConfigurationError(f"the vocabulary holds {len(prompts)} tags, more than {MOST_TAGS}; leave some out")
    return Vocabulary(tuple(tag for tag, _ in prompts.values()), tuple(asked for _, asked in prompts.values()))


def _lines(file: Path) -> list[tuple[str, str]]:
    try:
        text = file.expanduser().read_text("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            f"the vocabulary file {file} cannot be read ({error.strerror}); correct SIGHTLINE_TAGS__VOCABULARY_FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the vocabulary file {file} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error
    numbered = ((line.strip(), number) for number, line in enumerate(text.splitlines(), start=1))
    return [(line, f"line {number} of {file}") for line, number in numbered if line and not line.startswith("#")]


def _entry(entry: str, place: str) -> tuple[str, tuple[str, ...]]:
    name, _, rest = entry.partition(":")
    tag = _one_spaced(name.split())
    if not tag or len(tag) > LONGEST_TAG or not tag.isprintable():
        raise ConfigurationError(
            f"{place}: {entry[:60]!r} names no tag of 1 to {LONGEST_TAG} printable characters; "
            "write one tag, or `tag: one prompt | another prompt`"
        )
    return tag, tuple(prompt for part in rest.split("|") if (prompt := _one_spaced(part.split())))


def _one_spaced(words: Iterable[str]) -> str:
    return " ".join(words)
