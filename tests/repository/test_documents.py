"""The documents that a reader finds first."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.repository.files import ROOT, files, project

DOCUMENTS = [path for path in files() if path.suffix == ".md"]


def test_the_changelog_speaks_of_the_version_in_pyproject() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text
    assert f"## [{project()['project']['version']}]" in text


@pytest.mark.parametrize(
    "term",
    """Hint, Look, Judgement, Version, Point, Lane, Reject, Dead letter, Reconcile, Drift, Fingerprint, Space, Settled,
    Gone, Outcome, Stage, Transport, Source, Key, Partition key, Notification, Redrive, Freshness""".replace(
        "\n", " "
    ).split(","),
)
def test_the_glossary_defines(term: str) -> None:
    assert f"**{term.strip()}**:" in (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def test_the_glossary_is_in_order() -> None:
    terms = re.findall(r"^\*\*(.+?)\*\*:", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert terms == sorted(terms, key=str.casefold)


def test_decisions_are_numbered_and_have_their_three_parts() -> None:
    paths = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in paths] == list(range(1, len(paths) + 1))
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        for part in ("**Context.**", "**Decision.**", "**Consequence.**"):
            assert part in text, f"{path.name} lacks {part}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    broken = [target for target in targets if "://" not in target and not (ROOT / document.parent / target).exists()]
    assert not broken


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert project()["project"]["license"] == "Apache-2.0"


def test_what_continuous_integration_runs_is_what_a_developer_runs() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in text
    assert "export CI=true" in text
    assert text.rstrip().endswith("make check test")
    subprocess.run(["bash", "-n", script], check=True)
