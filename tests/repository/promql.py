"""Queries of Prometheus, read: which series they select, and which labels their answers have.

A query for a metric or a label that does not exist is no error for Prometheus: it answers nothing, for ever. So the
labels of every expression are worked out from the declared metrics, through recording rules, aggregations and matching.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import promql_parser as promql
import yaml

from docs.metric_table import declared_metrics
from runtime.metrics import Metric, MetricKind
from services.ingest.drift import DRIFT, LAST_RECONCILE, LISTED
from tests.repository.files import ROOT

RULE_FILES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
RULES: list[dict[str, Any]] = [
    rule
    for path in RULE_FILES
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
RECORDED: dict[str, str] = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in RULES if "alert" in rule}

TARGET = frozenset({"job", "instance"})
"""Prometheus gives them to every series that it scrapes."""
OWN = {"up": TARGET, "ALERTS": frozenset({"alertname", "alertstate", "severity"})}
"""Series that Prometheus makes by itself."""
PUSHED = frozenset({"prefix"})
"""The Pushgateway gives it to what the comparison of a part of a bucket tells: cli/pass_metrics.py names the group."""
METRICS = {metric.name: metric for metric in declared_metrics()}
PARTS = ("_bucket", "_sum", "_count")
COUNTERS_ONLY = {"rate", "increase", "irate"}
SCALARS = {"time", "scalar", "vector", "pi"}


class Wrong(Exception):
    """A query that can never answer what it asks for."""


@dataclass(frozen=True)
class Selector:
    """A series that a query selects, without its range and offset."""

    name: str
    matchers: tuple[tuple[str, str], ...]
    text: str


def expression(text: str, **variables: str) -> Any:
    """The tree of a query, with Grafana's interval and variables filled in."""
    for name, value in ({"__rate_interval": "5m"} | variables).items():
        text = text.replace(f"${name}", value)
    return promql.parse(text)


def selectors(tree: Any) -> list[Selector]:
    """Every series that a query selects."""
    return [_selector(node) for node in nodes(tree) if isinstance(node, promql.VectorSelector)]


def nodes(tree: Any) -> Iterator[Any]:
    """The tree's nodes, the outermost first."""
    yield tree
    for name in ("expr", "lhs", "rhs", "param", "args", "vector_selector"):
        inner = getattr(tree, name, None)
        for one in inner if isinstance(inner, list) else [inner]:
            if one is not None:
                yield from nodes(one)


def metric_of(name: str) -> Metric | None:
    """The declared metric that a series belongs to; a histogram is asked for by its parts only."""
    for part in PARTS:
        parent = METRICS.get(name.removesuffix(part))
        if name.endswith(part) and parent is not None and parent.kind is MetricKind.HISTOGRAM:
            return parent
    exact = METRICS.get(name)
    return exact if exact is not None and exact.kind is not MetricKind.HISTOGRAM else None


def labels_of_series(name: str) -> frozenset[str]:
    """The labels of a series. Raises `Wrong` when nothing makes it."""
    if name in OWN:
        return OWN[name]
    if name in RECORDED:
        return labels(expression(RECORDED[name])) or frozenset()
    metric = metric_of(name)
    if metric is None:
        raise Wrong(f"nothing makes a series {name}")
    pushed = PUSHED if metric in (DRIFT, LISTED, LAST_RECONCILE) else frozenset()
    return frozenset(metric.labels) | TARGET | pushed | ({"le"} if name.endswith("_bucket") else set())


def labels(tree: Any) -> frozenset[str] | None:
    """The labels that an expression's answer has, None for a number. Raises `Wrong`."""
    match tree:
        case promql.NumberLiteral() | promql.StringLiteral():
            return None
        case promql.VectorSelector():
            selector = _selector(tree)
            has = labels_of_series(selector.name)
            _known({label for label, _ in selector.matchers}, has, selector.name)
            return has
        case promql.MatrixSelector():
            return labels(tree.vector_selector)
        case promql.AggregateExpr():
            return _aggregated(tree)
        case promql.BinaryExpr():
            return _combined(tree)
        case promql.Call():
            return _called(tree)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return labels(tree.expr)
    raise TypeError(f"a query of an unknown kind: {tree}")


def _selector(node: Any) -> Selector:
    matchers = tuple((one.name, one.value) for one in node.matchers.matchers)
    signs = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
    inside = ",".join(f'{one.name}{signs[str(one.op)]}"{one.value}"' for one in node.matchers.matchers)
    return Selector(node.name, matchers, f"{node.name}{{{inside}}}")


def _known(asked: set[str], has: frozenset[str], where: str) -> None:
    if unknown := asked - has:
        raise Wrong(f"{where} has no label {', '.join(sorted(unknown))}; it has {', '.join(sorted(has)) or 'none'}")


def _aggregated(tree: Any) -> frozenset[str]:
    inner = labels(tree.expr)
    if inner is None:
        raise Wrong(f"{tree.prettify()} adds up a number")
    if tree.modifier is None:
        return frozenset()
    named = set(tree.modifier.labels)
    _known(named, inner, tree.expr.prettify())
    return frozenset(named) if str(tree.modifier.type) == "AggModifierType.By" else inner - named


def _called(tree: Any) -> frozenset[str] | None:
    name = tree.func.name
    inner = [found for found in map(labels, tree.args) if found is not None]
    if name in COUNTERS_ONLY:
        for selector in selectors(tree):
            metric = metric_of(selector.name)
            if metric is not None and metric.kind is MetricKind.GAUGE:
                raise Wrong(f"{selector.name} is a gauge, and only counters have a {name}")
    if name in SCALARS:
        return None
    if name == "absent":
        (selector,) = selectors(tree)[:1]
        direct = isinstance(tree.args[0], promql.VectorSelector)
        return frozenset(label for label, _ in selector.matchers) if direct else frozenset()
    if name == "label_replace":
        return inner[0] | {str(tree.args[1].val)}
    if name == "histogram_quantile":
        _known({"le"}, inner[0], name)
        return inner[0] - {"le"}
    return inner[0]


def _combined(tree: Any) -> frozenset[str] | None:
    left, right = labels(tree.lhs), labels(tree.rhs)
    if left is None or right is None:
        return left if right is None else right
    matching = tree.modifier.matching if tree.modifier else None
    if str(tree.op) == "or":
        return left & right
    if matching is None:
        if left != right:
            raise Wrong(f"{tree.prettify()} never matches: {sorted(left)} against {sorted(right)}")
        return left
    on = set(matching.labels)
    _known(on, left, tree.lhs.prettify())
    _known(on, right, tree.rhs.prettify())
    if str(tree.op) in ("and", "unless") or "ManyToOne" in str(tree.modifier.card):
        return left
    return frozenset(on)


def placeholders(text: str) -> set[str]:
    """The labels that a legend, `{{label}}`, or an annotation, `{{ $labels.label }}`, shows."""
    return set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text)) - {"value", "end"}


def problem(query: str, *shown: str, **variables: str) -> str | None:
    """What is wrong with a query, as a sentence, or with the labels that texts about it show."""
    try:
        has = labels(expression(query, **variables)) or frozenset()
    except Wrong as wrong:
        return str(wrong)
    lost = set().union(*map(placeholders, shown)) - has
    return f"a text shows {', '.join(sorted(lost))}, which the query drops" if lost else None


def described(found: Mapping[str, str]) -> str:
    """Problems by title, one a line."""
    return "\n".join(f"{title}: {wrong}" for title, wrong in found.items())
