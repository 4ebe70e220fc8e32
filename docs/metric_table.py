"""docs/metrics.md: a table of every metric that the code declares."""

import importlib
import re
from pathlib import Path

from runtime.metrics import Metric

ROOT = Path(__file__).parent.parent
PACKAGES = ("runtime", "services", "cli")
DECLARATION = re.compile(r"\bMetric\(")

HEAD = """\
# Metrics

Written by `make docs` from the declarations in the code; do not edit.

Every process serves these on `/metrics`. All of a stage's metrics carry the label `stage`, so one process may
run several. Label values are bounded: object keys never appear. Histograms also have `_bucket`, `_sum` and `_count`.

| Metric | Kind | Labels | What it tells |
|---|---|---|---|
"""


def metrics_page() -> str:
    """The page as Markdown."""
    rows = (
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels) or '-'} "
        f"| {metric.sentence} |\n"
        for metric in declared_metrics()
    )
    return HEAD + "".join(rows)


def declared_metrics() -> list[Metric]:
    """Every metric of the project, by name, whichever modules happen to be imported."""
    for module in declaring_modules():
        importlib.import_module(module)
    return [metric for metric in Metric.declared() if metric.name.startswith("sightline_")]


def declaring_modules() -> list[str]:
    """The modules that declare metrics, found by their text: importing all others would load every library."""
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if DECLARATION.search(path.read_text(encoding="utf-8"))
    ]
