"""deploy/k8s as kustomize builds it, and what the tests ask of the objects."""

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.manifests import SETTINGS
from deploy.stack import cache as tools
from deploy.stack.errors import MissingTool
from tests.repository.files import ROOT

K8S = ROOT / "deploy" / "k8s"
SERVICES = ("ingest", "embedder", "indexer", "search")
CONSUMERS = ("ingest", "embedder", "indexer")
FOLDERS = ("base", "overlays/dev", "overlays/gpu", "overlays/remote", "overlays/prod")
WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")
Manifest = dict[str, Any]


@cache
def built(folder: str) -> list[Manifest]:
    """Every object of a folder."""
    run = subprocess.run(
        [kustomize(), "build", str(K8S / folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    # Built with libyaml where it is there, which takes a tenth of the time.
    return list(yaml.load_all(run.stdout, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def kustomize() -> Path:
    """The program; where it cannot be had, CI fails and another machine skips the test."""
    try:
        return tools.kustomize()
    except MissingTool as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    found = [one for one in of_kind(manifests, kind) if one["metadata"]["name"] == name]
    assert len(found) == 1, f"{kind} {name}: {len(found)} found"
    return found[0]


def pod_template(workload: Manifest) -> Manifest:
    """Labels and spec of a workload's pods."""
    spec = workload["spec"]
    template: Manifest = (spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"]
    return template


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The pod spec of every workload, by the workload's name."""
    for one in of_kind(manifests, *WORKLOADS):
        yield one["metadata"]["name"], pod_template(one)["spec"]


def container(manifests: list[Manifest], name: str) -> Manifest:
    """The one container of a workload."""
    (found,) = dict(pods(manifests))[name]["containers"]
    return dict(found)


def variables(manifests: list[Manifest], name: str) -> dict[str, str]:
    """What a workload's process finds in its environment, except for secrets."""
    found = container(manifests, name)
    values: dict[str, str] = {}
    for source in found.get("envFrom", []):
        values |= named(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    return values | {entry["name"]: entry["value"] for entry in found.get("env", []) if "value" in entry}


def settings_file() -> dict[str, str]:
    """What base/settings.env sets."""
    lines = SETTINGS.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}
