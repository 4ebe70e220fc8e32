"""When a process traces, and that it costs nothing when it does not."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.tracing import make_tracing
from runtime.settings import load_settings
from runtime.tracing import Untraced
from schemas.errors import ConfigurationError

ROOT = Path(__file__).parents[3]
LOADED_WITHOUT_TRACES = """
import sys
from cli.parts import Parts
from runtime.settings import load_settings
import cli.up, cli.distributed, cli.wiring.embedder, cli.wiring.indexer, cli.wiring.ingest, cli.wiring.search
Parts.make(load_settings({}))
print([name for name in sys.modules if name.startswith("opentelemetry") and "sdk" in name or name == "runtime.otel"])
"""


def test_a_process_that_traces_nothing_loads_nothing_for_it() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LOADED_WITHOUT_TRACES], cwd=ROOT, capture_output=True, text=True, env={}, check=False
    )
    assert ran.stdout.strip() == "[]", ran.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "sightline"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_somewhere_to_send_to_nothing_is_traced(environment: dict[str, str]) -> None:
    assert isinstance(make_tracing(load_settings({}), environment), Untraced)


@pytest.mark.parametrize(
    ("settings", "environment"),
    [
        ({"SIGHTLINE_TRACING__ENDPOINT": "http://c:4318/"}, {}),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}),
        ({}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}),
    ],
)
def test_an_address_switches_traces_on(settings: dict[str, str], environment: dict[str, str]) -> None:
    assert not isinstance(make_tracing(load_settings(settings), environment), Untraced)


def test_another_protocol_than_http_is_refused_with_a_sentence() -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(ConfigurationError, match=r"http/protobuf.*says grpc.*4318"):
        make_tracing(load_settings({}), environment)


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "runtime.otel", raising=False)
    with pytest.raises(ConfigurationError, match=r"opentelemetry is not installed: install `sightline\[tracing\]`"):
        make_tracing(load_settings({"SIGHTLINE_TRACING__ENDPOINT": "http://c:4318"}), {})


def test_an_address_that_is_none_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"SIGHTLINE_TRACING__ENDPOINT.*http://collector:4318"):
        load_settings({"SIGHTLINE_TRACING__ENDPOINT": "collector"})
