"""Parts of hand-written pages that programs write: between `<!-- begin NAME -->` and `<!-- end NAME -->`."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent


def filled(text: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """The text with each block's content made anew. Raises `ValueError` where one of them is missing."""
    for name, content in blocks.items():
        pattern = re.compile(rf"(<!-- begin {re.escape(name)} -->\n).*?(<!-- end {re.escape(name)} -->)", re.DOTALL)
        made = content().rstrip("\n")
        text, count = pattern.subn(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"the block {name} is there {count} times; it is wanted once")
    return text


def fill(path: Path, blocks: Mapping[str, Callable[[], str]]) -> bool:
    """Write a page's blocks again; whether anything changed."""
    before = path.read_text(encoding="utf-8")
    after = filled(before, blocks)
    if after != before:
        path.write_text(after, encoding="utf-8")
    return after != before


def table(head: list[str], rows: list[list[str]], numbers_from: int = 1) -> str:
    """A Markdown table; columns from `numbers_from` on are aligned to the right."""
    rule = "|" + "|".join("---" if at < numbers_from else "---:" for at in range(len(head))) + "|"
    first, *others = ("| " + " | ".join(cells) + " |" for cells in [head, *rows])
    return "\n".join([first, rule, *others])
