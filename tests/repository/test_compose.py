"""deploy/compose.yaml and the Dockerfile, as far as reading them can tell."""

import importlib
import re
from typing import Any

import pytest
import yaml

from runtime.settings import load_settings, setting_names
from schemas.topics import NOTIFICATIONS
from tests.repository.files import PACKAGES, ROOT, project

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = ("ingest", "embedder", "indexer", "search")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_built_with_its_extra_and_run_by_its_name(service: str) -> None:
    defined = COMPOSE["services"][service]
    assert defined["build"]["args"]["EXTRA"] == service
    assert defined["build"]["args"]["EXTRA"] in project()["project"]["optional-dependencies"]
    assert defined["command"] == ["run", service]


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
    environment = COMPOSE["services"]["s3"]["environment"]
    assert environment["VGW_EVENT_KAFKA_TOPIC"] == NOTIFICATIONS.name
    assert (
        f"--topic {NOTIFICATIONS.name} --partitions {NOTIFICATIONS.partitions}"
        in COMPOSE["services"]["topic"]["command"]
    )


def test_qdrant_is_one_that_is_not_refused() -> None:
    image, _, version = COMPOSE["services"]["qdrant"]["image"].partition(":v")
    assert image == "qdrant/qdrant"
    assert tuple(map(int, version.split(".")))[:2] >= (1, 19)


def test_everything_that_is_waited_for_exists() -> None:
    for name, defined in COMPOSE["services"].items():
        assert set(defined.get("depends_on", [])) <= set(COMPOSE["services"]), name


def test_every_image_has_a_version_and_every_port_stays_on_this_machine() -> None:
    for name, defined in COMPOSE["services"].items():
        if "build" not in defined:
            assert re.search(r":v?\d+\.\d+", defined["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in defined.get("ports", [])), name


def test_what_is_mounted_from_the_repository_exists() -> None:
    for defined in COMPOSE["services"].values():
        for volume in defined.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / "deploy" / source).exists(), volume


def test_prometheus_asks_every_service() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    port = COMPOSE["services"]["search"]["environment"]["SIGHTLINE_PORT"]
    assert job["static_configs"][0]["targets"] == [f"{service}:{port}" for service in SERVICES]


def test_the_image_holds_every_package_and_runs_as_nobody_in_particular() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))
    assert copied == set(PACKAGES)
    allowed = set((ROOT / ".dockerignore").read_text(encoding="utf-8").split())
    assert {f"!{package}" for package in PACKAGES} <= allowed
    users = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert users == [("10001", "10001")]
    assert DOCKERFILE.index("USER 10001") > DOCKERFILE.rindex("FROM ")


def test_the_image_is_made_from_the_lock() -> None:
    assert '--constraint requirements.lock ".[${EXTRA}]"' in DOCKERFILE
    assert 'ENTRYPOINT ["sightline"]' in DOCKERFILE
    module, _, function = project()["project"]["scripts"]["sightline"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
