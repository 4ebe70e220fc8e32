"""What is installed: pinned by hash for all, and no more than each service needs."""

import re

from tests.repository.dockerfile import requirements_of
from tests.repository.files import ROOT, project

SERVICES = ("ingest", "embedder", "indexer", "search")


def names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {match.group() for match in found if match}


def lock_entries() -> list[str]:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_every_locked_requirement_is_one_version_with_hashes() -> None:
    entries = lock_entries()
    assert len(entries) > 50
    loose = [entry[:60] for entry in entries if not re.match(r"[a-z0-9._\[\],-]+==\S+", entry)]
    assert not loose, "not pinned to one version"
    unhashed = [entry[:60] for entry in entries if not re.search(r" --hash=sha256:[0-9a-f]{64}\b", entry)]
    assert not unhashed, "no hash"


def test_the_lock_names_no_address() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_the_lock_holds_everything_that_the_project_asks_for() -> None:
    def canonical(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    locked = {canonical(re.split(r"[=\[]", entry)[0]) for entry in lock_entries()}
    wanted = names(project()["project"]["dependencies"]) | names(project()["dependency-groups"]["dev"])
    wanted = wanted.union(*(requirements_of(service) for service in SERVICES))
    assert {canonical(name) for name in wanted} <= locked, "run `make lock`"


def test_the_extra_all_is_every_service_with_traces() -> None:
    assert project()["project"]["optional-dependencies"]["all"] == [f"sightline[{','.join(SERVICES)},tracing]"]
