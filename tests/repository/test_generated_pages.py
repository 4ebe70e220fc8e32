"""The generated files say what the code says."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs import generate
from docs.asyncapi import MESSAGES, asyncapi_document
from docs.metric_table import declared_metrics
from runtime.metrics import Metric, MetricKind
from schemas.topics import TOPICS
from tests.repository.files import ROOT, modules


def test_the_generated_pages_are_current() -> None:
    assert not generate.stale_pages(), "run `make docs`"


def test_a_stale_page_fails_the_check_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(generate.PAGES, "docs/metrics.md", lambda: "something new")
    assert generate.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "docs/metrics.md" in said
    assert "make docs" in said


def test_writing_mends_what_is_missing_or_changed(tmp_path: Path) -> None:
    assert generate.stale_pages(tmp_path) == list(generate.PAGES)
    generate.write(tmp_path)
    assert generate.stale_pages(tmp_path) == []
    (tmp_path / "docs" / "metrics.md").write_text("edited by hand", encoding="utf-8")
    assert generate.write(tmp_path) == [tmp_path / "docs" / "metrics.md"]
    assert generate.stale_pages(tmp_path) == []


def test_every_topic_is_a_channel_with_its_messages() -> None:
    document = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8"))
    assert list(document["channels"]) == [topic.name for topic in TOPICS]
    for topic in TOPICS:
        channel = document["channels"][topic.name]
        assert list(channel["messages"]) == ([spec.name for spec in MESSAGES[topic.name]] or ["notification"])
        assert channel["bindings"]["kafka"]["partitions"] == topic.partitions


def test_every_reference_of_the_page_leads_somewhere() -> None:
    document = asyncapi_document()

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for name, inner in value.items():
                if name == "$ref":
                    yield inner
                else:
                    yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    found = set(references(document))
    assert len(found) > 10
    for reference in found:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            assert step in place, reference
            place = place[step]


def declared_in_source() -> list[str]:
    """The name of every `Metric(name=...)` in the shipped packages, by reading and not by importing."""
    return [
        str(keyword.value.value)
        for path in modules()
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Metric"
        for keyword in node.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    ]


def test_every_metric_in_the_source_is_declared_once_and_on_the_page() -> None:
    names = declared_in_source()
    assert not [name for name, count in Counter(names).items() if count > 1], "declared twice"
    assert sorted(names) == sorted(metric.name for metric in declared_metrics())


@pytest.mark.parametrize("metric", declared_metrics(), ids=lambda metric: metric.name)
def test_metrics_are_named_as_prometheus_asks(metric: Metric) -> None:
    assert re.fullmatch("sightline_[a-z][a-z0-9_]*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
    assert not re.search(r"_(ms|millis|milliseconds|minutes|kb|mb)(_|$)", metric.name), "base units: seconds, bytes"
    assert len(metric.sentence.split()) >= 4, "the sentence is for the operator"
    assert not {"key", "object", "id", "path", "etag"} & set(metric.labels), "labels are bounded"
