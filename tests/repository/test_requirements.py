"""What is installed: pinned by hash for all, and no more than each service needs."""

import re
import subprocess
import sys

import pytest

from tests.repository.files import ROOT, project

SERVICES = ("ingest", "embedder", "indexer", "search")

IMPORTED_AS = {
    "boto3": ["boto3", "botocore"],
    "nvidia-ml-py": ["pynvml"],
    "open_clip_torch": ["open_clip"],
    "opentelemetry-exporter-otlp-proto-http": ["opentelemetry.exporter"],
    "opentelemetry-sdk": ["opentelemetry.sdk"],
    "pillow": ["PIL"],
    "pillow-heif": ["pillow_heif"],
    "qdrant-client": ["qdrant_client"],
    "qdrant-edge-py": ["qdrant_edge"],
    "pyarrow": ["pyarrow"],
    "torch": ["torch"],
    "torchvision": ["torchvision"],
    "watchfiles": ["watchfiles"],
}


def names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {match.group() for match in found if match}


def extra(name: str) -> set[str]:
    return names(project()["project"]["optional-dependencies"][name])


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
    wanted = wanted.union(*(extra(service) for service in SERVICES))
    assert {canonical(name) for name in wanted} <= locked, "run `make lock`"


def test_only_the_services_that_load_a_model_carry_torch() -> None:
    base = names(project()["project"]["dependencies"])
    carriers = {service for service in SERVICES if "torch" in extra(service) | base}
    assert carriers == {"embedder", "search"}


def test_the_extra_all_is_every_service_with_traces() -> None:
    assert project()["project"]["optional-dependencies"]["all"] == [f"sightline[{','.join(SERVICES)},tracing]"]


@pytest.mark.parametrize(
    ("image", "extras", "entries"),
    [
        *(
            (service, (service,), ("cli.distributed", f"cli.wiring.{service}", f"services.{service}"))
            for service in SERVICES
        ),
        # What deploy/k8s/base/reconcile.yaml runs.
        ("reconcile", ("ingest", "indexer"), ("cli.reconcile_on_kafka",)),
    ],
)
def test_an_image_starts_without_the_libraries_of_the_others(
    image: str, extras: tuple[str, ...], entries: tuple[str, ...]
) -> None:
    everything = set().union(*(extra(one) for one in (*SERVICES, "tracing")))
    installed = names(project()["project"]["dependencies"]).union(*(extra(one) for one in extras))
    blocked = sorted(module for name in everything - installed for module in IMPORTED_AS[name])
    script = f"""
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({blocked!r}))
for entry in ("cli.entry", "cli.main", *{entries!r}):
    package = importlib.import_module(entry)
    for module in pkgutil.walk_packages(getattr(package, "__path__", ()), entry + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"the image of {image} would not start:\n{run.stderr[-1000:]}"
