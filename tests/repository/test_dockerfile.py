"""One image for each service, with what it imports and no more."""

import importlib
import re
import subprocess
import sys

import pytest

from tests.repository.built import FOLDERS, WORKLOADS, built, of_kind, pods
from tests.repository.dockerfile import (
    TEXT,
    command_of,
    extra_of,
    in_image,
    requirements_of,
    stages,
    targets,
)
from tests.repository.files import PACKAGES, ROOT, project

TARGETS = tuple(targets())
ENTRIES = {
    "ingest": ("cli.distributed", "cli.wiring.ingest", "services.ingest"),
    "embedder": ("cli.distributed", "cli.wiring.embedder", "services.embedder"),
    "embedder-remote": ("cli.distributed", "cli.wiring.embedder", "services.embedder", "encoders.remote"),
    "indexer": ("cli.distributed", "cli.wiring.indexer", "services.indexer"),
    "search": ("cli.distributed", "cli.wiring.search", "services.search", "cli.serve"),
    "search-remote": ("cli.distributed", "cli.wiring.search", "services.search", "encoders.remote"),
    "reconcile": ("cli.reconcile_on_kafka",),
    "encoder": ("cli.serve", "services.search"),
}


def test_every_image_of_the_manifests_is_a_target_and_runs_what_they_say() -> None:
    for folder in FOLDERS:
        for name, pod in pods(built(folder)):
            container = pod["containers"][0]
            image = container["image"].rpartition(":")[0]
            if not image.startswith("sightline-"):
                assert name in ("qdrant", "minio", "pushgateway")
                continue
            target = image.removeprefix("sightline-")
            assert target in TARGETS
            if "command" not in container and target != "reconcile":
                assert container["args"] == command_of(target)
    used = {name for folder in FOLDERS for name, _ in pods(built(folder))}
    assert used >= {"ingest", "embedder", "indexer", "search", "reconcile", "encoder"}


def test_only_the_images_that_hold_a_model_carry_torch() -> None:
    carriers = {target for target in TARGETS if {"torch", "open_clip_torch"} & requirements_of(extra_of(target))}
    assert carriers == {"embedder", "search", "encoder"}


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_starts_without_the_libraries_of_the_others(target: str) -> None:
    script = (
        in_image(target).replace("from cli.entry import main; main()", "")
        + f"""
import importlib, pkgutil
for entry in ("cli.entry", "cli.main", *{ENTRIES[target]!r}):
    package = importlib.import_module(entry)
    for module in pkgutil.walk_packages(getattr(package, "__path__", ()), entry + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"the image of {target} would not start:\n{run.stderr[-1000:]}"


@pytest.mark.parametrize("target", ["indexer", "search-remote"])
def test_every_image_can_list_the_models(target: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", in_image(target), "models", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-1000:]
    assert '"sightline-small"' in run.stdout


def test_every_image_is_read_only_and_runs_as_nobody_in_particular() -> None:
    runtime = "\n".join(stages()["runtime"].lines)
    assert re.findall(r"^USER (\S+)$", TEXT, re.MULTILINE) == ["10001:10001"]
    assert "USER 10001:10001" in runtime
    assert 'ENTRYPOINT ["sightline"]' in runtime
    assert "PYTHONDONTWRITEBYTECODE=1" in runtime
    for target, stage in targets().items():
        assert all(line.startswith(("COPY ", "CMD ")) for line in stage.lines), target
    module, _, function = project()["project"]["scripts"]["sightline"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_what_is_built_from_is_pinned_and_comes_from_the_lock() -> None:
    (python,) = re.findall(r"^ARG PYTHON=(\S+)$", TEXT, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", python)
    for stage in stages().values():
        assert stage.base in ("${PYTHON}", "build", "runtime"), f"{stage.name} begins with something unpinned"
    installs = re.findall(r"^RUN .*pip install.*$", TEXT, re.MULTILINE)
    assert len(installs) == len(set(map(extra_of, TARGETS))) + 1
    assert all("--constraint requirements.lock" in line or "uv==" in line for line in installs)


def test_the_image_holds_every_package_of_the_distribution() -> None:
    assert set(re.findall(r"^COPY (\w+) \1$", TEXT, re.MULTILINE)) == set(PACKAGES)
    allowed = set((ROOT / ".dockerignore").read_text(encoding="utf-8").split())
    assert {f"!{package}" for package in PACKAGES} <= allowed


def test_the_manifests_have_workloads_of_every_kind_that_is_looked_at() -> None:
    assert {one["kind"] for folder in FOLDERS for one in of_kind(built(folder), *WORKLOADS)} == set(WORKLOADS)
