"""deploy/k8s: what is deployed exists in the code, is allowed to run, scales with its backlog, and stops in time."""

import copy
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry

from cli.access import asks_for_keys, keys_file
from cli.indexes import indexed_model
from deploy import manifests as generated
from runtime.probe_routes import probe_router
from runtime.probes import Probes
from runtime.settings import KafkaSettings, Settings, load_settings, setting_names
from schemas.topics import IMAGE_EMBEDDINGS, IMAGE_EVENTS, NOTIFICATIONS
from services.search.photo_search import KEPT_SECONDS
from tests.repository.built import (
    CONSUMERS,
    FOLDERS,
    K8S,
    SERVICES,
    Manifest,
    built,
    container,
    named,
    of_kind,
    pod_template,
    pods,
    settings_file,
    variables,
)
from tests.repository.files import ROOT
from tests.repository.pod_security import violations

KEYS_FILE = "SIGHTLINE_ACCESS__KEYS_FILE"
OF_LIBRARIES = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_HOME"}
README = (K8S / "README.md").read_text(encoding="utf-8")
TOPIC_OF = {"ingest": NOTIFICATIONS, "embedder": IMAGE_EVENTS, "indexer": IMAGE_EMBEDDINGS}


def ours(values: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name.startswith("SIGHTLINE_")}


def own_deployments(folder: str) -> list[Manifest]:
    """Those that run Sightline; the Pushgateway has one pod, and probes of its own."""
    return [one for one in of_kind(built(folder), "Deployment") if one["metadata"]["name"] != "pushgateway"]


def test_there_is_a_folder_and_a_deployment_for_each_service_and_it_runs_that_service() -> None:
    for service in SERVICES:
        assert container(built("base"), service)["args"] == ["run", service]
        assert container(built("base"), service)["image"].startswith(f"sightline-{service}:")
        assert (K8S / "base" / service / "kustomization.yaml").is_file()


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_pod_passes_the_restricted_standard(folder: str) -> None:
    found = dict(pods(built(folder)))
    assert {*SERVICES, "reconcile"} <= set(found)
    assert {name: violations(pod) for name, pod in found.items() if violations(pod)} == {}
    labels = named(built(folder), "Namespace", "sightline")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


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
    pod = copy.deepcopy(dict(pods(built("base")))["embedder"])
    spoil(pod)
    assert any(sentence in found for found in violations(pod))


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything_is_in_one_namespace_and_no_image_is_without_a_version(folder: str) -> None:
    outside = [
        one["kind"]
        for one in built(folder)
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != "sightline"
    ]
    assert not outside
    for name, pod in pods(built(folder)):
        image, _, digest = pod["containers"][0]["image"].partition("@sha256:")
        tag = image.rpartition(":")[2]
        assert any(letter.isdigit() for letter in tag), f"{name}: an image without a version changes under one's feet"
        # What is built here has its digest only once it is pushed.
        assert image.startswith("sightline-") or re.fullmatch(r"[0-9a-f]{64}", digest), f"{name}: not pinned by digest"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_service_has_an_account_of_its_own_so_that_a_role_is_of_one_service(folder: str) -> None:
    for name, pod in pods(built(folder)):
        if name not in ("qdrant", "minio", "make-bucket"):
            assert pod["serviceAccountName"] == name
            assert named(built(folder), "ServiceAccount", name)["automountServiceAccountToken"] is False


def test_the_generated_manifests_are_current() -> None:
    assert not generated.stale(), "run `make docs`"


def test_a_stale_manifest_fails_the_check_with_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generated, "FOLDER", tmp_path / "deploy")
    monkeypatch.setattr(generated, "SETTINGS", tmp_path / "settings.env")
    monkeypatch.setattr(generated, "RULES", tmp_path / "rule.yaml")
    (tmp_path / "settings.env").write_text("SIGHTLINE_PORT=8080\n\n", encoding="utf-8")
    assert generated.main(["--check"]) == 1
    assert "make docs" in capsys.readouterr().err
    assert generated.main([]) == 0
    assert generated.main(["--check"]) == 0
    assert "# SIGHTLINE_LOG_LEVEL=INFO\n" in (tmp_path / "settings.env").read_text(encoding="utf-8")


def test_every_setting_is_in_the_config_map_or_its_default_is_told_or_it_is_a_secret() -> None:
    text = generated.SETTINGS.read_text(encoding="utf-8")
    told = {line.removeprefix("# ").partition("=")[0] for line in text.splitlines() if "=" in line}
    assert told | generated.secret_names() == set(setting_names())
    assert not told & generated.secret_names()


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_key_of_the_config_map_is_a_setting_and_every_process_can_start_with_its_own(folder: str) -> None:
    (settings,) = [one for one in of_kind(built(folder), "ConfigMap") if "settings" in one["metadata"]["name"]]
    assert set(settings["data"]) <= set(setting_names())
    if folder == "base":
        assert settings["data"] == settings_file()
    for name, pod in pods(built(folder)):
        if {"configMapRef": {"name": settings["metadata"]["name"]}} not in pod["containers"][0].get("envFrom", []):
            assert name in ("qdrant", "minio", "make-bucket", "pushgateway")
            continue
        given = {entry["name"] for entry in pod["containers"][0]["env"]}
        assert given <= {*setting_names(), *OF_LIBRARIES}, name
        found = load_settings(ours(variables(built(folder), name)))
        assert (found.host, found.port, found.ingest.buckets) == ("0.0.0.0", 8080, ("images",))


def test_a_changed_setting_rolls_the_pods() -> None:
    (settings,) = [one for one in of_kind(built("base"), "ConfigMap") if "settings" in one["metadata"]["name"]]
    assert settings["metadata"]["name"] != "sightline-settings", "a hash of the contents is part of the name"


@pytest.mark.parametrize("folder", [one for one in FOLDERS if one != "overlays/dev"])
def test_secrets_come_by_reference_and_are_described(folder: str) -> None:
    assert not of_kind(built(folder), "Secret")
    for _, pod in pods(built(folder)):
        for entry in pod["containers"][0].get("env", []):
            if entry["name"] in generated.secret_names() or entry["name"].endswith(("KEY_ID", "ACCESS_KEY", "API_KEY")):
                reference = entry["valueFrom"]["secretKeyRef"]
                assert f"`{reference['name']}`" in README
                assert f"`{reference['key']}`" in README
        for volume in pod.get("volumes", []):
            assert "secret" not in volume or f"`{volume['secret']['secretName']}`" in README


def test_the_passwords_of_the_overlay_for_one_machine_are_those_of_no_other() -> None:
    for secret in of_kind(built("overlays/dev"), "Secret"):
        assert secret["metadata"]["name"].startswith(("sightline-s3", "sightline-qdrant", "sightline-webhook"))
    for folder in set(FOLDERS) - {"overlays/dev"}:
        assert "development-only" not in yaml.safe_dump_all(built(folder))


@pytest.mark.parametrize("folder", ["base", "overlays/prod"])
def test_search_asks_for_keys_that_follow_their_secret(folder: str) -> None:
    pod = dict(pods(built(folder)))["search"]
    settings = load_settings(ours(variables(built(folder), "search")))
    assert asks_for_keys(settings)
    (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "api-keys"]
    assert keys_file(settings) == Path(mount["mountPath"]) / "api-keys.json"
    assert "subPath" not in mount, "such a file never changes"


@pytest.mark.parametrize("folder", FOLDERS)
def test_probes_ask_what_they_are_about(folder: str) -> None:
    paths = {route.path for route in probe_router(Probes(), CollectorRegistry()).routes if isinstance(route, APIRoute)}
    # A process that waits for Kafka is alive, and started where the code can tell that from being loaded.
    started = "/startupz" if "/startupz" in paths else "/livez"
    for workload in own_deployments(folder):
        found = container(built(folder), workload["metadata"]["name"])
        assert found["startupProbe"]["httpGet"] == {"path": started, "port": "http"}
        assert found["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}, "its own progress only"
        assert found["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
        assert {started, "/livez", "/readyz"} <= paths
        assert found["ports"] == [
            {"name": "http", "containerPort": int(variables(built(folder), "search")["SIGHTLINE_PORT"])}
        ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_pod_is_given_longer_than_its_drain_and_a_model_has_minutes_to_load(folder: str) -> None:
    for service in SERVICES:
        pod = dict(pods(built(folder)))[service]
        assert (
            pod["terminationGracePeriodSeconds"]
            >= load_settings(ours(variables(built(folder), service))).drain_seconds + 30
        )
    for service in ("embedder", "search"):
        probe = container(built(folder), service)["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 600


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_runs_several_times_keeps_a_pod_while_a_node_is_drained(folder: str) -> None:
    for workload in own_deployments(folder):
        budget = named(built(folder), "PodDisruptionBudget", workload["metadata"]["name"])["spec"]
        assert budget["maxUnavailable"] == 1
        assert budget["selector"]["matchLabels"].items() <= pod_template(workload)["metadata"]["labels"].items()


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_service_leads_to_pods_and_a_port_of_theirs(folder: str) -> None:
    for service in of_kind(built(folder), "Service"):
        selector = service["spec"]["selector"].items()
        (workload,) = [
            one
            for one in of_kind(built(folder), "Deployment", "StatefulSet")
            if selector <= pod_template(one)["metadata"]["labels"].items()
        ]
        ports = {port["name"] for port in container(built(folder), workload["metadata"]["name"])["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    assert {"ingest", "search"} <= {one["metadata"]["name"] for one in of_kind(built(folder), "Service")}


@pytest.mark.parametrize("folder", FOLDERS)
def test_whoever_searched_by_a_photo_is_sent_to_the_same_pod_while_it_keeps_what_was_found(folder: str) -> None:
    service = named(built(folder), "Service", "search")["spec"]
    assert service["sessionAffinity"] == "ClientIP"
    assert service["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"] >= KEPT_SECONDS


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("service", CONSUMERS)
def test_a_consumer_scales_on_its_own_group_and_topic_and_never_beyond_the_partitions(
    folder: str, service: str
) -> None:
    spec = named(built(folder), "ScaledObject", service)["spec"]
    settings = load_settings(ours(variables(built(folder), service)))
    (trigger,) = spec["triggers"]
    topic = f"{settings.kafka.topic_prefix}{TOPIC_OF[service].name}"
    assert spec["scaleTargetRef"]["name"] == service
    assert trigger["metadata"]["consumerGroup"] == f"{settings.kafka.group_prefix}{service}"
    assert trigger["metadata"]["topic"] == topic
    assert trigger["metadata"]["offsetResetPolicy"] == "earliest", "a group at `latest` would skip what it has not read"
    assert trigger["metadata"]["bootstrapServersFromEnv"] in variables(built(folder), service)
    assert spec["minReplicaCount"] >= 1, "a group that never committed shows no lag, and would never wake up"
    assert spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
    partitions = named(built(folder), "KafkaTopic", topic)["spec"]["partitions"]
    consumers = settings.encoder.consumers if service == "embedder" else 1
    assert spec["maxReplicaCount"] * consumers <= partitions
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 300, "every step is a rebalance"
    assert "replicas" not in named(built(folder), "Deployment", service)["spec"], "an apply would undo KEDA's work"


@pytest.mark.parametrize(
    ("folder", "machine"), [("base", ("2 processors", "ViT-B-32")), ("overlays/prod", ("A100", "ViT-L-14"))]
)
def test_an_embedder_is_asked_for_before_the_backlog_alone_costs_the_objective(
    folder: str, machine: tuple[str, str]
) -> None:
    assumed = tomllib.loads((ROOT / "benchmarks" / "sizing" / "assumptions.toml").read_text(encoding="utf-8"))
    (rate,) = [one["rate"] for one in assumed["embedders"] if (one["name"], one["model"]) == machine]
    spec = named(built(folder), "ScaledObject", "embedder")["spec"]
    objective = load_settings(ours(variables(built(folder), "embedder"))).freshness.objective_seconds
    assert int(spec["triggers"][0]["metadata"]["lagThreshold"]) / rate <= objective
    assert spec["minReplicaCount"] >= 2, "of one that dies all images would be late"


def test_the_defaults_assumed_here_are_those_of_the_code() -> None:
    assert KafkaSettings().group_prefix == "sightline-"
    assert Settings().drain_seconds == 30


@pytest.mark.parametrize("folder", ["base", "overlays/prod"])
def test_the_dashboards_and_the_rules_travel_with_the_manifests(folder: str) -> None:
    found = {
        file: text
        for one in of_kind(built(folder), "ConfigMap")
        if one["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
        for file, text in one["data"].items()
    }
    written = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "deploy" / "grafana").rglob("*.json")}
    assert found == written
    groups = named(built(folder), "PrometheusRule", "sightline")["spec"]["groups"]
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "deploy/prometheus").rglob("*.yml")]
    wanted = [group["name"] for file in files for group in file.get("groups", [])]
    assert sorted(group["name"] for group in groups) == sorted(wanted)


def test_rules_are_taken_from_every_file_that_has_groups(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    for name in ("b", "a"):
        group = {"name": name, "rules": [{"record": f"sightline:{name}", "expr": "vector(1)"}]}
        (tmp_path / "rules" / f"{name}.yml").write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
    (tmp_path / "prometheus.yml").write_text("scrape_configs: []\n", encoding="utf-8")
    assert [group["name"] for group in yaml.safe_load(generated.rules_page(tmp_path))["spec"]["groups"]] == ["a", "b"]


def test_the_pod_monitor_asks_every_service_on_a_port_that_it_has() -> None:
    spec = named(built("base"), "PodMonitor", "sightline")["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    for service in SERVICES:
        labels = pod_template(named(built("base"), "Deployment", service))["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert endpoint["port"] in [port["name"] for port in container(built("base"), service)["ports"]]


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_reconcile_finds_reaches_prometheus_by_a_gateway(folder: str) -> None:
    gateway = container(built(folder), "pushgateway")
    (port,) = gateway["ports"]
    pushed_to = load_settings(ours(variables(built(folder), "reconcile"))).reconcile.pushgateway
    assert pushed_to == f"http://pushgateway:{port['containerPort']}"
    (served,) = named(built(folder), "Service", "pushgateway")["spec"]["ports"]
    assert (served["port"], served["targetPort"]) == (port["containerPort"], port["name"])
    assert gateway["livenessProbe"]["httpGet"] == {"path": "/-/healthy", "port": port["name"]}
    assert gateway["readinessProbe"]["httpGet"] == {"path": "/-/ready", "port": port["name"]}
    assert named(built(folder), "Deployment", "pushgateway")["spec"]["replicas"] == 1
    if folder == "overlays/dev":
        return
    spec = named(built(folder), "PodMonitor", "pushgateway")["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] == port["name"]
    assert endpoint["honorLabels"] is True, "otherwise the job would be that of the gateway"
    labels = pod_template(named(built(folder), "Deployment", "pushgateway"))["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    (others,) = named(built(folder), "PodMonitor", "sightline")["spec"]["podMetricsEndpoints"]
    assert others["port"] != port["name"], "asked twice, once with other labels"


def test_a_prometheus_without_an_operator_asks_the_gateway_too() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "kubernetes.yml").read_text(encoding="utf-8"))
    (job,) = [one for one in config["scrape_configs"] if "static_configs" in one]
    assert job["static_configs"] == [{"targets": ["pushgateway.sightline.svc:9091"]}]
    assert job["honor_labels"] is True


@pytest.mark.parametrize("folder", ["overlays/gpu", "overlays/prod"])
def test_with_gpus_the_embedder_asks_for_one_and_does_not_wait_for_two(folder: str) -> None:
    deployment = named(built(folder), "Deployment", "embedder")["spec"]
    limits = container(built(folder), "embedder")["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert variables(built(folder), "embedder")["SIGHTLINE_ENCODER__DEVICE"] == "cuda"
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in deployment["template"]["spec"][
        "tolerations"
    ]


def test_one_node_needs_no_gpu_and_one_copy_of_everything() -> None:
    dev = built("overlays/dev")
    assert "nvidia.com" not in yaml.safe_dump_all(dev)
    assert named(dev, "KafkaNodePool", "dual-role")["spec"]["replicas"] == 1
    assert {one["spec"]["replicas"] for one in of_kind(dev, "KafkaTopic")} == {1}
    assert not of_kind(dev, "PodMonitor", "PrometheusRule")
    requested = sum(_millicores(pod["containers"][0]["resources"]["requests"]["cpu"]) for _, pod in pods(dev))
    assert requested <= 3000


def test_the_store_of_one_node_writes_to_the_topic_that_ingest_reads_with_a_user_that_may() -> None:
    dev = built("overlays/dev")
    minio = variables(dev, "minio")
    assert minio["MINIO_NOTIFY_KAFKA_TOPIC_PRIMARY"] == NOTIFICATIONS.name
    assert minio["MINIO_NOTIFY_KAFKA_BROKERS_PRIMARY"] == variables(dev, "ingest")["SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS"]
    user = named(dev, "KafkaUser", minio["MINIO_NOTIFY_KAFKA_SASL_USERNAME_PRIMARY"])
    assert [acl["resource"]["name"] for acl in user["spec"]["authorization"]["acls"]] == [NOTIFICATIONS.name]
    settings = load_settings(ours(variables(dev, "embedder")))
    assert settings.s3.endpoint_url == "http://minio:9000"


def test_a_fleet_is_spread_over_zones_and_loses_a_node_of_qdrant_without_harm() -> None:
    prod = built("overlays/prod")
    for name in (*SERVICES, "qdrant"):
        workload = next(one for one in of_kind(prod, "Deployment", "StatefulSet") if one["metadata"]["name"] == name)
        labels = pod_template(workload)["metadata"]["labels"]
        spread = pod_template(workload)["spec"]["topologySpreadConstraints"]
        assert "topology.kubernetes.io/zone" in {one["topologyKey"] for one in spread}
        assert all(one["labelSelector"]["matchLabels"].items() <= labels.items() for one in spread)
    assert named(prod, "StatefulSet", "qdrant")["spec"]["replicas"] >= 3
    qdrant = variables(prod, "qdrant")
    assert qdrant["QDRANT__CLUSTER__ENABLED"] == "true"
    for service in ("embedder", "indexer"):
        made = load_settings(ours(variables(prod, service))).qdrant
        assert made.replication_factor >= 2, "whoever starts first makes the collection"
        assert made.shard_number % named(prod, "StatefulSet", "qdrant")["spec"]["replicas"] == 0
    assert "replicas" not in named(prod, "Deployment", "search")["spec"], "the autoscaler decides"
    assert named(prod, "HorizontalPodAutoscaler", "search")["spec"]["minReplicas"] >= 3


def test_with_a_remote_encoder_the_others_ask_the_service_that_is_there() -> None:
    remote = built("overlays/remote")
    for service in ("embedder", "search"):
        settings = load_settings(ours(variables(remote, service)))
        assert settings.encoder.model == "self-hosted:sightline-small"
        assert settings.remote.url == "http://encoder/embed"
        assert container(remote, service)["image"].startswith(f"sightline-{service}-remote:")
    encoder = load_settings(ours(variables(remote, "encoder")))
    assert encoder.encoder.model == "sightline-small"
    assert container(remote, "encoder")["args"] == ["serve"]
    assert asks_for_keys(encoder)
    for built_folder in ("overlays/remote", "overlays/prod"):
        limits = load_settings(ours(variables(built(built_folder), "encoder"))).access
        assert (limits.requests_per_second, limits.concurrency) == (0, 0), "its callers are services, not people"
    assert named(remote, "Service", "encoder")["spec"]["ports"][0]["port"] == 80


def test_search_stands_for_the_model_that_embedders_and_the_encoder_hold() -> None:
    prod = built("overlays/prod")
    search, embedder, encoder = (
        load_settings(ours(variables(prod, name))) for name in ("search", "embedder", "encoder")
    )
    assert search.encoder.model.startswith("self-hosted:")
    assert indexed_model(search) == embedder.encoder.model == encoder.encoder.model
    assert search.remote.url == "http://encoder/embed"
    assert container(prod, "search")["image"].startswith("sightline-search-remote:")


def _millicores(text: str) -> int:
    return int(text.removesuffix("m")) if text.endswith("m") else int(text) * 1000
