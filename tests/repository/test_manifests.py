"""deploy/k8s: what is deployed exists in the code, is allowed to run, and stops in time."""

import copy
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.access import asks_for_keys, keys_file
from runtime.settings import KafkaSettings, Settings, load_settings, setting_names
from schemas.topics import IMAGE_EVENTS
from tests.repository.files import ROOT
from tests.repository.pod_security import violations

K8S = ROOT / "deploy" / "k8s"
SERVICES = ("ingest", "embedder", "indexer", "search")
KEYS_FILE = "SIGHTLINE_ACCESS__KEYS_FILE"
KINDS_WITHOUT_SCHEMA = {"Kustomization"}
Manifest = dict[str, Any]

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl is not installed, so the manifests cannot be built here"
)


@cache
def written() -> list[Manifest]:
    """The manifests of the base as they are written."""
    return [
        document
        for path in sorted((K8S / "base").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if document["kind"] not in KINDS_WITHOUT_SCHEMA
    ]


@cache
def built(folder: str) -> list[Manifest]:
    """The manifests as kustomize builds them."""
    run = subprocess.run(
        ["kubectl", "kustomize", str(K8S / folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return list(yaml.safe_load_all(run.stdout))


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    found = [one for one in manifests if one["kind"] == kind and one["metadata"]["name"] == name]
    assert len(found) == 1, f"{kind} {name}: {len(found)} found"
    return found[0]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The pod spec of every workload, by the workload's name."""
    for one in manifests:
        if one["kind"] == "Deployment":
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]
        elif one["kind"] == "CronJob":
            yield one["metadata"]["name"], one["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def environment(pod: Manifest) -> dict[str, Any]:
    return {entry["name"]: entry for entry in pod["containers"][0].get("env", [])}


def settings_file() -> dict[str, str]:
    lines = (K8S / "base" / "settings.env").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def test_there_is_a_deployment_for_each_service_and_it_runs_that_service() -> None:
    for service in SERVICES:
        (container,) = named(written(), "Deployment", service)["spec"]["template"]["spec"]["containers"]
        assert container["args"] == ["run", service]
        assert container["image"] == f"sightline-{service}"


def test_every_pod_passes_the_restricted_standard() -> None:
    assert {name for name, _ in pods(written())} == {*SERVICES, "reconcile"}
    assert {name: violations(pod) for name, pod in pods(written()) if violations(pod)} == {}


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda pod: pod["securityContext"].pop("runAsNonRoot"), "root"),
        (lambda pod: pod["securityContext"].pop("seccompProfile"), "seccomp"),
        (lambda pod: pod.update(hostNetwork=True), "hostNetwork"),
        (lambda pod: pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}}), "volume host"),
        (lambda pod: pod["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"), "image"),
        (lambda pod: pod["containers"][0]["securityContext"].pop("capabilities"), "capabilities"),
        (lambda pod: pod["containers"][0]["securityContext"].update(allowPrivilegeEscalation=True), "privileges"),
        (lambda pod: pod["containers"][0]["resources"].pop("limits"), "memory"),
    ],
)
def test_the_check_sees_what_is_not_restricted(spoil: Callable[[Manifest], object], sentence: str) -> None:
    pod = copy.deepcopy(dict(pods(written()))["embedder"])
    spoil(pod)
    assert any(sentence in found for found in violations(pod))


def test_the_settings_exist_and_their_values_can_work() -> None:
    values = settings_file()
    assert set(values) <= set(setting_names())
    settings = load_settings(values)
    assert settings.host == "0.0.0.0"
    assert settings.port == 8080
    assert settings.ingest.buckets == ("images",)


def test_no_setting_of_the_config_map_is_a_secret() -> None:
    assert not [name for name in settings_file() if name.endswith(("PASSWORD", "TOKEN", "API_KEY"))]


def test_every_variable_of_a_pod_is_a_setting_or_one_that_a_library_reads() -> None:
    known = {*setting_names(), "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_HOME"}
    for name, pod in pods(written()):
        assert set(environment(pod)) <= known, name


def test_secrets_come_by_reference_and_are_described() -> None:
    described = (K8S / "base" / "secrets.md").read_text(encoding="utf-8")
    assert not [one for one in written() if one["kind"] == "Secret"]
    for _, pod in pods(written()):
        for name, entry in environment(pod).items():
            if name.endswith(("PASSWORD", "TOKEN", "KEY", "KEY_ID", "USERNAME")):
                reference = entry["valueFrom"]["secretKeyRef"]
                assert f"`{reference['name']}`" in described
                assert f"`{reference['key']}`" in described


def test_search_asks_for_keys_that_follow_their_secret() -> None:
    pod = dict(pods(written()))["search"]
    settings = load_settings(settings_file() | {KEYS_FILE: environment(pod)[KEYS_FILE]["value"]})
    assert asks_for_keys(settings)
    (volume,) = [one for one in pod["volumes"] if one["name"] == "api-keys"]
    (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "api-keys"]
    assert keys_file(settings) == Path(mount["mountPath"]) / "api-keys.json"
    assert "subPath" not in mount, "such a file never changes"
    described = (K8S / "base" / "secrets.md").read_text(encoding="utf-8")
    assert f"`{volume['secret']['secretName']}`" in described
    assert "`api-keys.json`" in described


def test_probes_ask_the_port_that_the_settings_open() -> None:
    port = int(settings_file()["SIGHTLINE_PORT"])
    for service in SERVICES:
        (container,) = named(written(), "Deployment", service)["spec"]["template"]["spec"]["containers"]
        ports = {entry["name"]: entry["containerPort"] for entry in container["ports"]}
        assert ports == {"http": port}
        asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
        assert asked["liveness"] == {"path": "/livez", "port": "http"}
        assert asked["readiness"] == {"path": "/readyz", "port": "http"}
        assert asked["startup"]["path"] == "/livez", "with Kafka away a pod waits; it is not restarted"


def test_a_model_has_minutes_to_load() -> None:
    for service in ("embedder", "search"):
        probe = named(written(), "Deployment", service)["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 600


def test_a_pod_is_given_longer_than_its_drain() -> None:
    drain = load_settings(settings_file()).drain_seconds
    for service in SERVICES:
        pod = named(written(), "Deployment", service)["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] >= drain + 30


def test_every_service_keeps_a_pod_while_a_node_is_drained() -> None:
    for service in SERVICES:
        budget = named(written(), "PodDisruptionBudget", service)["spec"]
        labels = named(written(), "Deployment", service)["spec"]["template"]["metadata"]["labels"]
        assert budget["maxUnavailable"] == 1
        assert budget["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("service", ["ingest", "search"])
def test_what_people_and_stores_call_has_a_service(service: str) -> None:
    spec = named(written(), "Service", service)["spec"]
    labels = named(written(), "Deployment", service)["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"].items() <= labels.items()
    assert spec["ports"][0]["targetPort"] == "http"


def test_the_embedder_scales_on_its_own_group_and_topic() -> None:
    spec = named(written(), "ScaledObject", "embedder")["spec"]
    kafka = load_settings(settings_file()).kafka
    (trigger,) = spec["triggers"]
    assert spec["scaleTargetRef"]["name"] == "embedder"
    assert trigger["metadata"]["consumerGroup"] == f"{kafka.group_prefix}embedder" == "sightline-embedder"
    assert trigger["metadata"]["topic"] == f"{kafka.topic_prefix}{IMAGE_EVENTS.name}"
    assert trigger["metadata"]["offsetResetPolicy"] == "earliest", "a group at `latest` would skip what it has not read"
    assert trigger["metadata"]["bootstrapServersFromEnv"] in settings_file()
    assert spec["minReplicaCount"] >= 1
    assert "replicas" not in named(written(), "Deployment", "embedder")["spec"], "an apply would undo KEDA's work"


def test_there_is_a_partition_for_every_consumer_that_may_be_started() -> None:
    most = named(written(), "ScaledObject", "embedder")["spec"]["maxReplicaCount"]
    settings = load_settings(settings_file())
    assert most * settings.encoder.consumers <= settings.kafka.partitions


def test_the_defaults_assumed_here_are_those_of_the_code() -> None:
    assert KafkaSettings().group_prefix == "sightline-"
    assert Settings().drain_seconds == 30


@needs_kubectl
@pytest.mark.parametrize("folder", ["base", "overlays/gpu"])
def test_kustomize_builds_it_and_the_result_is_still_restricted(folder: str) -> None:
    manifests = built(folder)
    assert {name: violations(pod) for name, pod in pods(manifests) if violations(pod)} == {}
    outside = [
        one["kind"]
        for one in manifests
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != "sightline"
    ]
    assert not outside
    for _, pod in pods(manifests):
        assert ":" in pod["containers"][0]["image"], "an image without a tag changes under one's feet"


@needs_kubectl
def test_a_changed_setting_rolls_the_pods() -> None:
    manifests = built("base")
    (settings,) = [one for one in manifests if one["kind"] == "ConfigMap" and "settings" in one["metadata"]["name"]]
    assert settings["data"] == settings_file()
    for _, pod in pods(manifests):
        assert {"configMapRef": {"name": settings["metadata"]["name"]}} in pod["containers"][0]["envFrom"]


@needs_kubectl
@pytest.mark.parametrize("name", ["flow", "embedder", "search", "truth"])
def test_the_dashboards_travel_with_the_manifests(name: str) -> None:
    dashboard = named(built("base"), "ConfigMap", f"sightline-dashboard-{name}")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboard["metadata"]["annotations"]["grafana_folder"] == "Sightline"
    path = ROOT / "deploy" / "grafana" / "dashboards" / f"{name}.json"
    assert dashboard["data"][path.name] == path.read_text(encoding="utf-8")


@needs_kubectl
def test_the_gpu_overlay_asks_for_a_gpu_and_does_not_wait_for_two() -> None:
    deployment = named(built("overlays/gpu"), "Deployment", "embedder")["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"name": "SIGHTLINE_ENCODER__DEVICE", "value": "cuda"} in container["env"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    values = {
        name: entry["value"] for name, entry in environment(deployment["template"]["spec"]).items() if "value" in entry
    }
    load_settings(settings_file() | {name: value for name, value in values.items() if name.startswith("SIGHTLINE_")})
