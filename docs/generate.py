"""The generated files: `python -m docs.generate` writes them, `--check` fails when one is stale.

- docs/asyncapi.yaml: AsyncAPI 3.0 (https://www.asyncapi.com/docs/reference/specification/v3.0.0) from
  the topics and the record models.
- docs/metrics.md: every declared metric.
- deploy/grafana/dashboards/*.json: the dashboards, from the panels in deploy/grafana.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from deploy.grafana.document import text_of
from deploy.grafana.pages import DASHBOARDS
from docs.asyncapi import asyncapi_page
from docs.metric_table import metrics_page

ROOT = Path(__file__).parent.parent

PAGES: dict[str, Callable[[], str]] = {
    "docs/asyncapi.yaml": asyncapi_page,
    "docs/metrics.md": metrics_page,
    **{path: partial(text_of, dashboard) for path, dashboard in DASHBOARDS.items()},
}
"""By the path from the root of the repository."""


def write(root: Path = ROOT) -> list[Path]:
    """Write the pages; answer those that changed."""
    stale = stale_pages(root)
    for name in stale:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PAGES[name](), encoding="utf-8")
    return [root / name for name in stale]


def stale_pages(root: Path = ROOT) -> list[str]:
    """The paths of the pages that differ from what the code says, missing ones included."""
    return [
        name
        for name, page in PAGES.items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != page()
    ]


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when the pages are current (or were written), 1 when `--check` found a stale one."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description="Writes the generated files.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a page is stale")
    if not parser.parse_args(arguments).check:
        for path in write():
            print(f"wrote {path.relative_to(ROOT)}")
        return 0
    stale = stale_pages()
    for name in stale:
        print(
            f"{name} does not say what the code says; run `make docs` (python -m docs.generate) and commit it",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
