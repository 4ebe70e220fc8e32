"""The generated pages: `python -m docs.generate` writes them, `--check` fails when one is stale.

- docs/asyncapi.yaml: AsyncAPI 3.0 (https://www.asyncapi.com/docs/reference/specification/v3.0.0) from
  the topics and the record models.
- docs/metrics.md: every declared metric.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from docs.asyncapi import asyncapi_page
from docs.metric_table import metrics_page

FOLDER = Path(__file__).parent

PAGES: dict[str, Callable[[], str]] = {"asyncapi.yaml": asyncapi_page, "metrics.md": metrics_page}


def write(folder: Path = FOLDER) -> list[Path]:
    """Write the pages; answer those that changed."""
    stale = [folder / name for name in stale_pages(folder)]
    for path in stale:
        path.write_text(PAGES[path.name](), encoding="utf-8")
    return stale


def stale_pages(folder: Path = FOLDER) -> list[str]:
    """The names of the pages that differ from what the code says, missing ones included."""
    return [
        name
        for name, page in PAGES.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != page()
    ]


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when the pages are current (or were written), 1 when `--check` found a stale one."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description="Writes the generated pages.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a page is stale")
    if not parser.parse_args(arguments).check:
        for path in write():
            print(f"wrote docs/{path.name}")
        return 0
    stale = stale_pages()
    for name in stale:
        print(
            f"docs/{name} does not say what the code says; run `make docs` (python -m docs.generate) and commit it",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
