"""Every object of deploy/k8s is what the API servers of these releases, KEDA, Strimzi and Prometheus would take."""

import copy
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from jsonschema.exceptions import best_match

from deploy.stack.cache import custom_resource_schemas, strimzi_schemas
from deploy.stack.errors import MissingTool
from tests.repository.built import FOLDERS, Manifest, built, named
from tests.repository.strimzi import SPECS, resource_schema

RELEASES = ("1.30", "1.37")
"""Of Kubernetes: the oldest that is meant, and the newest whose schemas are at hand."""

TRIGGERS = {
    "kafka": {
        "bootstrapServersFromEnv",
        "consumerGroup",
        "topic",
        "lagThreshold",
        "offsetResetPolicy",
        "sasl",
        "tls",
    },
    "aws-sqs-queue": {"queueURLFromEnv", "queueLength", "awsRegion"},
}
"""What the manifests may say to KEDA's scalers, whose fields its schema leaves open."""


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: a bare `=` is a text."""


Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


@cache
def definitions() -> dict[str, dict[str, Any]]:
    """The schema of each resource of KEDA, Strimzi and the Prometheus operator, by version and kind."""
    try:
        folders = (custom_resource_schemas(), strimzi_schemas())
    except MissingTool as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    found: dict[str, dict[str, Any]] = {}
    kinds = ("scaledobjects", "triggerauthentications", "podmonitors", "prometheusrules", *SPECS)
    for path in (path for folder in folders for path in Path(folder).iterdir() if path.stem.endswith(kinds)):
        definition = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
        spec = definition["spec"]
        for version in spec["versions"]:
            schema = _closed(version["schema"]["openAPIV3Schema"])
            found[f"{spec['group']}/{version['name']} {spec['names']['kind']}"] = schema
    return found


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """An API server drops a field that it does not know; here it is refused, since nobody wrote it to be dropped."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return schema
    closed = dict(schema)
    if schema.get("pattern", "").startswith("^(?i)"):
        # Go takes flags anywhere, Python at the beginning only.
        closed["pattern"] = "(?i)^" + schema["pattern"].removeprefix("^(?i)")
    if "properties" in schema:
        closed["properties"] = {name: _closed(part) for name, part in schema["properties"].items()}
        closed.setdefault("additionalProperties", False)
    if isinstance(schema.get("items"), dict):
        closed["items"] = _closed(schema["items"])
    return closed


def hold(value: Any, schema: dict[str, Any]) -> None:
    """Raise `jsonschema.ValidationError`; the schemas, which are large, are believed to be schemas."""
    error = best_match(jsonschema.Draft202012Validator(schema).iter_errors(value))
    if error is not None:
        raise error


def check(one: Manifest) -> None:
    """Raise `jsonschema.ValidationError` for an object that would not be taken, or not as it is written."""
    key = f"{one['apiVersion']} {one['kind']}"
    if one["apiVersion"].startswith("kafka.strimzi.io/"):
        hold(one, resource_schema(one["kind"]))
        # v1 is v1beta2 without what was deprecated there, which the schema above leaves out.
        schema = definitions()[f"kafka.strimzi.io/v1beta2 {one['kind']}"]
        hold(one["spec"], schema["properties"]["spec"])
    elif one["apiVersion"].startswith(("keda.sh/", "monitoring.coreos.com/")):
        schema = copy.copy(definitions()[key])
        # Names, labels and annotations are the API server's, and described nowhere.
        schema["properties"] = schema["properties"] | {"metadata": {"type": "object"}}
        hold(one, schema)
        for trigger in one["spec"].get("triggers", []):
            assert set(trigger["metadata"]) <= TRIGGERS[trigger["type"]], (
                f"{one['metadata']['name']}: {set(trigger['metadata'])}"
            )
    else:
        for release in RELEASES:
            kubernetes_validate.validate(one, release, strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_would_be_taken_as_it_is_written(folder: str) -> None:
    for one in built(folder):
        try:
            check(one)
        except jsonschema.ValidationError as error:
            pytest.fail(f"{one['kind']} {one['metadata']['name']}: {error.json_path}: {error.message}")


@pytest.mark.parametrize(
    ("kind", "name", "spoil"),
    [
        ("Deployment", "embedder", lambda spec: spec["template"]["spec"].update(terminationGracePeriod=90)),
        ("NetworkPolicy", "to-kafka", lambda spec: spec["egress"][0]["ports"][0].update(port="kafka", protocol=6)),
        ("CronJob", "reconcile", lambda spec: spec.update(schedule=17)),
        ("ScaledObject", "embedder", lambda spec: spec.update(maxReplicas=12)),
        (
            "ScaledObject",
            "embedder",
            lambda spec: spec["advanced"]["horizontalPodAutoscalerConfig"].update(behaviour=1),
        ),
        ("PodMonitor", "sightline", lambda spec: spec["podMetricsEndpoints"][0].update(intervall="15s")),
        ("PodMonitor", "sightline", lambda spec: spec["podMetricsEndpoints"][0].update(interval="15")),
        ("PrometheusRule", "sightline", lambda spec: spec.update(groups=[{"name": "x", "rules": [{"alert": "y"}]}])),
        ("KafkaTopic", "image-events", lambda spec: spec.update(partition=48)),
        ("KafkaUser", "sightline-search", lambda spec: spec["authorization"]["acls"][0].update(operation="Read")),
        ("TriggerAuthentication", "kafka", lambda spec: spec.update(secretRef=[])),
    ],
)
def test_the_check_sees_what_is_not_there(kind: str, name: str, spoil: Callable[[Manifest], object]) -> None:
    one = copy.deepcopy(named(built("base"), kind, name))
    check(one)
    spoil(one["spec"])
    with pytest.raises(jsonschema.ValidationError):
        check(one)


def test_every_resource_of_strimzi_that_is_used_is_described_here() -> None:
    used = {
        one["kind"] for folder in FOLDERS for one in built(folder) if one["apiVersion"].startswith("kafka.strimzi.io/")
    }
    assert used == set(SPECS)
