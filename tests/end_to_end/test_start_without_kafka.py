"""A service that is started before its broker, as happens when a whole cluster comes up at once."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from deploy.stack import start_kafka
from deploy.stack.process import free_port
from tests.end_to_end.running import Running, sightline, wait_for
from tests.servers import start_or_skip

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


def asking(running: Running, url: str) -> Callable[[str], httpx.Response | None]:
    def ask(path: str) -> httpx.Response | None:
        assert running.process.poll() is None, running.log.read_text()[-3000:]
        try:
            return running.client.get(url + path)
        except httpx.TransportError:
            return None

    return ask


def warnings(log: Path) -> list[str]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line["message"] for line in lines if line["level"] == "warning"]


def test_a_service_waits_for_its_broker_alive_and_not_ready_and_ends_on_a_signal(tmp_path: Path) -> None:
    port, kafka = free_port(), free_port()
    environment = {"PORT": str(port), "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{kafka}"}
    with (
        sightline("run", "indexer", data_dir=tmp_path / "indexer", wait=False, environment=environment) as indexer,
        sightline(
            "run", "ingest", data_dir=tmp_path / "ingest", wait=False, environment=environment | {"PORT": "0"}
        ) as ingest,
    ):
        ask = asking(indexer, f"http://127.0.0.1:{port}")

        def waits() -> bool:
            ready = ask("/readyz")
            return ready is not None and ready.status_code == 503 and "Kafka does not answer" in ready.text

        wait_for(waits, "the wait being told")
        assert [getattr(ask(path), "status_code", None) for path in ("/livez", "/startupz")] == [200, 200]

        wait_for(lambda: warnings(ingest.log), "ingest telling what it waits for")
        ingest.process.send_signal(signal.SIGTERM)
        assert ingest.process.wait(10) == 0
        (told,) = warnings(ingest.log)
        assert f"127.0.0.1:{kafka}" in told
        assert "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS" in told

        server = start_or_skip(lambda: start_kafka(tmp_path / "stack", port=kafka))
        try:
            assert server.address == f"127.0.0.1:{kafka}"
            wait_for(lambda: getattr(ask("/readyz"), "status_code", None) == 200, "readiness with the broker")
            assert indexer.stop() == 0
        finally:
            server.kill()
