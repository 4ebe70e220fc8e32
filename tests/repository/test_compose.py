"""deploy/compose.yaml, as far as reading it can tell."""

import re
import runpy
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from runtime.settings import load_settings, setting_names
from schemas.topics import NOTIFICATIONS
from tests.repository.dockerfile import command_of, targets
from tests.repository.files import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = ("ingest", "embedder", "indexer", "search")


def ours(values: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name.startswith("SIGHTLINE_")}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_an_image_of_the_dockerfile_and_run_by_its_name(service: str) -> None:
    defined = COMPOSE["services"][service]
    assert defined["build"]["target"] == service
    assert defined["command"] == ["run", service] == command_of(service)


def test_every_image_that_is_built_is_a_target() -> None:
    built = {name: defined["build"]["target"] for name, defined in COMPOSE["services"].items() if "build" in defined}
    assert set(built.values()) <= set(targets())
    assert built["bucket"] == "ingest", "it has boto3, which the script needs"
    assert "sightline reconcile s3://images" in COMPOSE["services"]["reconcile"]["command"][0]


@pytest.mark.parametrize("service", SERVICES)
def test_the_settings_of_a_service_exist_and_can_work(service: str) -> None:
    values = COMPOSE["services"][service]["environment"]
    assert all(isinstance(value, str) for value in values.values()), "YAML numbers reach a process as text anyway"
    ours = {name: value for name, value in values.items() if name.startswith("SIGHTLINE_")}
    assert set(ours) <= set(setting_names())
    settings = load_settings(ours)
    host, _, port = settings.kafka.bootstrap_servers.partition(":")
    assert host in COMPOSE["services"]
    assert f"INSIDE://{host}:{port}" in COMPOSE["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert re.fullmatch(r"http://qdrant:\d+", settings.qdrant.url)
    assert settings.ingest.buckets == ("images",)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_given_longer_than_its_drain(service: str) -> None:
    defined = COMPOSE["services"][service]
    ours = {name: value for name, value in defined["environment"].items() if name.startswith("SIGHTLINE_")}
    assert int(defined["stop_grace_period"].removesuffix("s")) > load_settings(ours).drain_seconds


def test_search_is_open_to_this_machine_and_by_names_that_no_page_elsewhere_has() -> None:
    values = COMPOSE["services"]["search"]["environment"]
    access = load_settings({name: value for name, value in values.items() if name.startswith("SIGHTLINE_")}).access
    assert access.required == "never"
    assert set(access.allowed_hosts) == {"localhost", "127.0.0.1", "search"}


def test_the_store_writes_its_notifications_to_the_topic_that_ingest_reads() -> None:
    environment = COMPOSE["services"]["minio"]["environment"]
    assert environment["MINIO_NOTIFY_KAFKA_TOPIC_PRIMARY"] == NOTIFICATIONS.name
    assert environment["MINIO_NOTIFY_KAFKA_ENABLE_PRIMARY"] == "on"
    settings = load_settings(ours(COMPOSE["services"]["ingest"]["environment"]))
    assert environment["MINIO_NOTIFY_KAFKA_BROKERS_PRIMARY"] == settings.kafka.bootstrap_servers
    assert settings.s3.endpoint_url == COMPOSE["services"]["bucket"]["environment"]["AWS_ENDPOINT_URL_S3"]
    assert (
        f"--topic {NOTIFICATIONS.name} --partitions {NOTIFICATIONS.partitions}"
        in COMPOSE["services"]["topic"]["command"]
    )


def test_the_bucket_is_made_once_and_its_events_go_to_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_REGION", "us-east-1")):
        monkeypatch.setenv(name, value)
    with mock_aws():
        queue = boto3.client("sqs", region_name="us-east-1").create_queue(QueueName="kafka")["QueueUrl"]
        # moto knows queues of AWS only; MinIO's name for Kafka has the same place.
        monkeypatch.setenv("NOTIFICATION_TARGET", f"arn:aws:sqs:us-east-1:123456789012:{queue.rpartition('/')[2]}")
        for _ in range(2):
            runpy.run_path(str(ROOT / "deploy/k8s/overlays/dev/make_bucket.py"), run_name="__main__")
        s3 = boto3.client("s3", region_name="us-east-1")
        (wired,) = s3.get_bucket_notification_configuration(Bucket="images")["QueueConfigurations"]
        assert wired["Events"] == ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    ports = [port for defined in COMPOSE["services"].values() for port in defined.get("ports", [])]
    assert len({port.rpartition(":")[0] for port in ports}) == len(ports), "two services want one port of the machine"


def test_qdrant_is_one_that_is_not_refused() -> None:
    image, _, version = COMPOSE["services"]["qdrant"]["image"].partition("@")[0].partition(":v")
    assert image == "qdrant/qdrant"
    assert tuple(map(int, version.split(".")))[:2] >= (1, 19)


def test_everything_that_is_waited_for_exists() -> None:
    for name, defined in COMPOSE["services"].items():
        assert set(defined.get("depends_on", [])) <= set(COMPOSE["services"]), name


def test_every_image_has_a_version_and_every_port_stays_on_this_machine() -> None:
    for name, defined in COMPOSE["services"].items():
        if "build" not in defined:
            pinned = r".+:(v?\d+\.\d+|RELEASE\.\d{4}-)\S*@sha256:[0-9a-f]{64}"
            assert re.fullmatch(pinned, defined["image"]), f"{name}: {defined['image']} is not pinned"
        assert all(port.startswith("127.0.0.1:") for port in defined.get("ports", [])), name


def test_what_is_mounted_from_the_repository_exists() -> None:
    for defined in COMPOSE["services"].values():
        for volume in defined.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / "deploy" / source).exists(), volume


def test_prometheus_asks_every_service() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    job, pushed = config["scrape_configs"]
    port = COMPOSE["services"]["search"]["environment"]["SIGHTLINE_PORT"]
    assert job["static_configs"][0]["targets"] == [f"{service}:{port}" for service in SERVICES]
    gateway = load_settings(ours(COMPOSE["services"]["reconcile"]["environment"])).reconcile.pushgateway
    assert pushed["static_configs"] == [{"targets": [gateway.removeprefix("http://")]}]
    assert pushed["honor_labels"] is True
    assert gateway.removeprefix("http://").partition(":")[0] in COMPOSE["services"]
