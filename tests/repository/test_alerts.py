"""deploy/prometheus: rules that Prometheus reads, alerts proved to fire and to stay quiet, and their runbooks."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.pages import DASHBOARDS
from runtime.settings import setting_names
from tests.prometheus import program
from tests.repository.files import ROOT
from tests.repository.promql import (
    ALERTS,
    RECORDED,
    RULE_FILES,
    RULES,
    described,
    expression,
    labels,
    problem,
    selectors,
)
from tests.repository.test_dashboards import PATHS, queries
from tests.servers import start_or_skip

FOLDER = ROOT / "deploy" / "prometheus"
TEST_FILES = sorted((FOLDER / "tests").glob("*.yml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
PROMETHEUS_PAGE = "Status → Targets"
MOST_PAGES = 8
"""Whoever is woken for everything is woken for nothing."""


@pytest.fixture(scope="module")
def promtool() -> str:
    return start_or_skip(lambda: program("promtool"))


def run(*command: "str | Path") -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_every_rule(promtool: str) -> None:
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)


def test_prometheus_reads_its_configuration_and_finds_the_rules(promtool: str) -> None:
    run(promtool, "check", "config", FOLDER / "prometheus.yml")
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    assert sorted(path for pattern in config["rule_files"] for path in FOLDER.glob(pattern)) == RULE_FILES
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    mounted = dict(volume.split(":")[:2] for volume in compose["services"]["prometheus"]["volumes"])
    assert mounted["./prometheus/rules"] == "/etc/prometheus/rules"


def test_every_rule_is_computed_before_its_last_answer_is_too_old_to_count() -> None:
    groups = [one for path in RULE_FILES for one in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    assert {one["interval"] for one in groups if "interval" in one} <= {"1m", "2m"}, "Prometheus looks back 5 minutes"


def test_prometheus_keeps_what_the_longest_range_of_a_rule_asks_for() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    started = compose["services"]["prometheus"]
    (kept,) = re.findall(r"--storage\.tsdb\.retention\.time=(\d+)d", " ".join(started["command"]))
    longest = max(int(days) for rule in RULES for days in re.findall(r"\[(\d+)d\]", rule["expr"]))
    assert int(kept) > longest
    (path,) = re.findall(r"--storage\.tsdb\.path=(\S+)", " ".join(started["command"]))
    assert dict(volume.split(":")[:2] for volume in started["volumes"])["measurements"] == path


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_must_and_only_then(path: Path, promtool: str) -> None:
    run(promtool, "test", "rules", path)


def expectations(alert: str) -> list[list[dict[str, Any]]]:
    """What the tests expect of an alert, one entry for each moment."""
    question = f'ALERTS{{alertname="{alert}", alertstate="firing"}}'
    return [
        check["exp_samples"]
        for path in TEST_FILES
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for check in case["promql_expr_test"]
        if check["expr"] == question
    ]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_fired_and_kept_quiet_by_a_test(alert: str) -> None:
    expected = expectations(alert)
    assert any(expected), "no test fires it"
    assert not all(expected), "no test keeps it quiet"
    severity = ALERTS[alert]["labels"]["severity"]
    assert all(f'severity="{severity}"' in sample["labels"] for samples in expected for sample in samples)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_tells_whoever_gets_it_what_it_is_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert len(annotations["summary"]) <= 90, "it is read on a telephone"
    assert annotations["description"].rstrip().endswith(".")
    assert annotations["runbook_url"] == f"docs/runbooks/{alert}.md"
    assert (ROOT / annotations["runbook_url"]).is_file()


@pytest.mark.parametrize("alert", ALERTS)
def test_a_runbook_tells_what_it_means_how_to_see_it_and_what_to_do(alert: str) -> None:
    text = (RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {alert}\n")
    headings = ["## What it means", "## How to see it", "## What to do"]
    assert [line for line in text.splitlines() if line.startswith("## ")] == headings
    for part in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]:
        assert len(part.split()) >= 15, "a heading with nothing under it helps nobody at night"
    named = set(re.findall(r"\b(?:[a-z_]+:)?sightline_\w+(?::\w+)?|\bsightline:\w+:\w+", text))
    known = {selector.name for rule in RULES for selector in selectors(expression(rule["expr"]))} | set(RECORDED)
    missing = {name for name in named if name not in known and problem(name) and problem(f"{name}_bucket")}
    assert not missing, "it names series that do not exist"
    settings = {name for name in re.findall(r"\bSIGHTLINE_\w+", text) if name not in setting_names()}
    assert not settings, "it names settings that do not exist"
    rows = [row for dashboard in DASHBOARDS.values() for row in dashboard.rows]
    titles = [dashboard.title.removeprefix("Sightline: ") for dashboard in DASHBOARDS.values()]
    titles += [row.title for row in rows] + [panel.title for row in rows for panel in row.panels] + [PROMETHEUS_PAGE]
    for name in re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", text):
        assert any(title.startswith(" ".join(name.split())) for title in titles), f"nothing is called {name}"


def test_every_runbook_has_its_alert_and_the_list_of_runbooks_is_whole() -> None:
    names = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert names == set(ALERTS)
    listed = re.findall(r"\[(Sightline\w+)\]\(Sightline\w+\.md\)", (RUNBOOKS / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(ALERTS)


def test_few_alerts_wake_anyone() -> None:
    assert sum(rule["labels"]["severity"] == "page" for rule in ALERTS.values()) <= MOST_PAGES


def test_every_rule_asks_for_what_exists_and_every_text_for_what_it_keeps() -> None:
    found = {
        name: wrong
        for rule in RULES
        for name in [rule.get("record") or rule["alert"]]
        if (wrong := problem(rule["expr"], *rule.get("annotations", {}).values())) is not None
    }
    assert not found, described(found)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_series_is_named_after_the_labels_that_it_keeps(name: str) -> None:
    level, metric, operation = name.split(":")
    assert operation
    assert metric
    kept = labels(expression(RECORDED[name])) or frozenset()
    assert ("sightline" if not kept else level) == level
    assert set(() if level == "sightline" else level.split("_")) == set(kept)


def test_every_recorded_series_is_asked_for() -> None:
    texts = [rule["expr"] for rule in RULES] + [query for path in PATHS for _, query, _ in queries(path)]
    asked = {selector.name for text in texts for selector in selectors(expression(text))}
    assert set(RECORDED) <= asked, sorted(set(RECORDED) - asked)
