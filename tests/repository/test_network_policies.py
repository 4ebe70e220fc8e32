"""deploy/k8s: who may connect to whom, worked out from the network policies as a plugin that enforces them would."""

from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

import pytest

from tests.repository.built import FOLDERS, WORKLOADS, Manifest, built, of_kind, pod_template

Labels = dict[str, str]
HERE = "sightline"


class End(NamedTuple):
    """One end of a connection: a pod by its labels and namespace, or an address outside."""

    labels: Labels
    namespace: Labels
    address: str = ""


def pod(name: str, **more: str) -> End:
    labels = {"app.kubernetes.io/name": name}
    if name == "kafka":
        labels["strimzi.io/cluster"] = "kafka"
    return End(labels | more, {"kubernetes.io/metadata.name": HERE})


def elsewhere(namespace: str, labels: Labels | None = None) -> End:
    return End(labels or {}, {"kubernetes.io/metadata.name": namespace})


def outside(address: str) -> End:
    return End({}, {}, address)


DNS = elsewhere("kube-system", {"k8s-app": "kube-dns"})
PROMETHEUS = elsewhere("monitoring")
GATEWAY = End({}, {"kubernetes.io/metadata.name": "anything", "sightline-gateway": "true"})
INTERNET = outside("52.218.0.10")
METADATA = outside("169.254.169.254")
SERVICES = ("ingest", "embedder", "indexer", "search", "reconcile")


def allowed(folder: str, source: End, target: End, port: int) -> bool:
    """Whether the policies of both ends let the connection pass."""
    policies = of_kind(built(folder), "NetworkPolicy")
    leaves = not _is_ours(source) or _passes(policies, source, "Egress", "egress", "to", target, port)
    arrives = not _is_ours(target) or _passes(policies, target, "Ingress", "ingress", "from", source, port)
    return leaves and arrives


def _is_ours(end: End) -> bool:
    return end.namespace.get("kubernetes.io/metadata.name") == HERE


def _passes(policies: list[Manifest], end: End, kind: str, key: str, peers: str, other: End, port: int) -> bool:
    meant = [one["spec"] for one in policies if kind in one["spec"]["policyTypes"]]
    meant = [spec for spec in meant if _selects(spec["podSelector"], end.labels)]
    assert meant, f"no policy denies {end} anything"
    return any(
        (not rule.get("ports") or port in [one["port"] for one in rule["ports"]])
        and (not rule.get(peers) or any(_is_peer(peer, other) for peer in rule[peers]))
        for spec in meant
        for rule in spec.get(key) or []
    )


def _is_peer(peer: dict[str, Any], other: End) -> bool:
    if "ipBlock" in peer:
        # An address within the cluster is a pod's, and a plugin decides about it by its labels.
        address = ip_address(other.address or "10.0.0.1")
        block = peer["ipBlock"]
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(one) for one in block.get("except", [])
        )
    if other.address:
        return False
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], other.namespace):
            return False
    elif not _is_ours(other):
        return False
    return _selects(peer.get("podSelector", {}), other.labels)


def _selects(selector: dict[str, Any], labels: Labels) -> bool:
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    wanted: Labels = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


NEEDED = [
    *((service, pod("kafka"), 9093) for service in SERVICES),
    *((service, DNS, 53) for service in SERVICES),
    *((service, pod("qdrant"), port) for service in SERVICES if service != "ingest" for port in (6333, 6334)),
    *((service, PROMETHEUS, 4317) for service in SERVICES),
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_service_reaches_what_it_needs(folder: str) -> None:
    for service, target, port in NEEDED:
        assert allowed(folder, pod(service), target, port), (service, target, port)
    for service in ("ingest", "embedder", "indexer", "search"):
        assert allowed(folder, PROMETHEUS, pod(service), 8080), service
    for service in ("ingest", "search"):
        assert allowed(folder, GATEWAY, pod(service), 8080), service
    assert allowed(folder, pod("reconcile"), pod("pushgateway"), 9091)
    assert allowed(folder, PROMETHEUS, pod("pushgateway"), 9091)
    store, port = (pod("minio"), 9000) if folder == "overlays/dev" else (INTERNET, 443)
    for service in ("ingest", "embedder", "search", "reconcile"):
        assert allowed(folder, pod(service), store, port), service


@pytest.mark.parametrize("folder", FOLDERS)
def test_and_nothing_else(folder: str) -> None:
    names = [one["metadata"]["name"] for one in of_kind(built(folder), *WORKLOADS)]
    for name in names:
        for port in (80, 443):
            assert not allowed(folder, pod(name), METADATA, port), f"{name} reads the node's credentials"
            assert not allowed(folder, pod(name), outside("10.1.2.3"), port), f"{name} looks round in the network"
        for port in (22, 6443, 10250):
            assert not allowed(folder, pod(name), elsewhere("kube-system"), port), name
        assert not allowed(folder, elsewhere("default"), pod(name), 8080), name
    for source in SERVICES:
        for target in SERVICES:
            assert not allowed(folder, pod(source), pod(target), 8080), f"{source} calls {target}"
    assert not allowed(folder, pod("ingest"), pod("qdrant"), 6333)
    assert not allowed(folder, pod("indexer"), INTERNET, 443), "what it needs arrives by Kafka"
    assert not allowed(folder, GATEWAY, pod("embedder"), 8080)
    assert not allowed(folder, GATEWAY, pod("qdrant"), 6333)
    for stranger in (pod("search"), pod("embedder"), GATEWAY, elsewhere("default")):
        assert not allowed(folder, stranger, pod("pushgateway"), 9091), "whoever can push can hide drift"


def test_every_pod_is_denied_everything_before_anything_is_allowed() -> None:
    for folder in FOLDERS:
        (deny,) = [one for one in of_kind(built(folder), "NetworkPolicy") if one["metadata"]["name"] == "default-deny"]
        assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_on_one_node_the_store_reaches_kafka_and_no_one_reaches_the_internet() -> None:
    dev = "overlays/dev"
    assert allowed(dev, pod("minio"), pod("kafka"), 9093)
    assert allowed(dev, pod("make-bucket"), pod("minio"), 9000)
    assert allowed(dev, elsewhere("keda"), pod("kafka"), 9093)
    for one in of_kind(built(dev), *WORKLOADS):
        assert not allowed(dev, pod(one["metadata"]["name"]), INTERNET, 443), one["metadata"]["name"]


@pytest.mark.parametrize("port", [443, 6443, 8443])
def test_kafkas_operators_reach_an_api_server_on_the_ports_that_it_has_behind_its_address(port: int) -> None:
    assert allowed("overlays/dev", pod("kafka"), outside("192.168.49.2"), port)


@pytest.mark.parametrize(("name", "port"), [("qdrant", 6335), ("kafka", 9091)])
def test_the_nodes_of_a_cluster_speak_with_each_other_and_only_they(name: str, port: int) -> None:
    assert allowed("overlays/prod", pod(name), pod(name), port)
    assert allowed("overlays/prod", pod(name), DNS, 53)
    assert not allowed("overlays/prod", pod("indexer"), pod(name), port)
    assert not allowed("overlays/prod", GATEWAY, pod(name), port)


def test_the_encoder_is_asked_by_embedder_and_search_and_asks_for_weights_only() -> None:
    remote = "overlays/remote"
    assert allowed(remote, pod("search"), pod("encoder"), 8080)
    assert allowed(remote, pod("embedder"), pod("encoder"), 8080)
    assert allowed(remote, PROMETHEUS, pod("encoder"), 8080)
    assert not allowed(remote, pod("indexer"), pod("encoder"), 8080)
    for target, port in ((INTERNET, 443), (DNS, 53)):
        assert allowed(remote, pod("encoder"), target, port), "a model may have to be downloaded"
    for target, port in ((INTERNET, 80), (METADATA, 443), (pod("kafka"), 9093), (pod("qdrant"), 6333)):
        assert not allowed(remote, pod("encoder"), target, port)


def test_every_workload_has_the_name_by_which_policies_know_it() -> None:
    for folder in FOLDERS:
        for one in of_kind(built(folder), *WORKLOADS):
            assert pod_template(one)["metadata"]["labels"]["app.kubernetes.io/name"] == one["metadata"]["name"]
