"""The servers and processes of a load run, each started here and each stopped here."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from deploy.stack import S3Server, StackError, start_kafka, start_versitygw
from deploy.stack.process import free_port
from runtime.kafka.admin import check_broker, ensure_topics
from runtime.settings import KafkaSettings
from schemas.topics import TOPICS

BUCKET = "load"
SERVICES = {"ingest": ("ingest",), "embedder": ("embedder",), "indexer and search": ("indexer", "search")}
"""The three processes, by what they are called in the panels."""
READY_SECONDS = 120.0


@dataclass
class Service:
    """One process of Sightline."""

    name: str
    address: str
    log: Path
    process: "subprocess.Popen[bytes]"

    def ready(self, client: httpx.Client) -> bool:
        """Whether it says that it is ready. Raises `StackError` with the end of its log when it has ended."""
        if self.process.poll() is not None:
            raise StackError(f"{self.name} ended at its start: {self.log} ends with {self.log.read_text()[-1500:]}")
        try:
            return client.get(f"{self.address}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def pause(self) -> None:
        """Freeze it; Kafka evicts it only after the session's 30 seconds."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to drain and end; its exit code, negative where it had to be killed."""
        self.resume()
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@dataclass
class Fleet:
    """What a load run works with."""

    kafka: str
    s3: S3Server
    folder: Path
    services: dict[str, Service]
    servers: dict[str, int]
    """Process numbers of the servers that are not ours, by name."""
    api: httpx.Client
    """A client of the HTTP API; making one takes more processor time than a hundred questions."""
    start_seconds: dict[str, float] = field(default_factory=dict)

    def stop_services(self) -> dict[str, int]:
        """End the three processes in the order of the pipeline; their exit codes."""
        return {name: service.stop() for name, service in self.services.items()}


@contextmanager
def running_fleet(folder: Path, model: str) -> Iterator[Fleet]:
    """Everything but Prometheus, ready; all of it is stopped at the end, by force if need be.

    Raises `StackError` where a tool is missing or a server does not come up.
    """
    with ExitStack() as entered:
        kafka = start_kafka(folder)
        entered.callback(kafka.kill)
        asyncio.run(_prepare(KafkaSettings(bootstrap_servers=kafka.address)))
        s3 = start_versitygw(folder, kafka.address)
        entered.callback(s3.stop)
        s3.make_bucket(BUCKET)
        environment = _clean_environment() | s3.environment()
        environment |= {
            "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS": kafka.address,
            "SIGHTLINE_INGEST__BUCKETS": BUCKET,
            "SIGHTLINE_ENCODER__MODEL": model,
        }
        services = {}
        for name, parts in SERVICES.items():
            services[name] = _start(name, parts, folder, environment)
            entered.callback(_kill, services[name].process)
        api = entered.enter_context(httpx.Client(base_url=services["indexer and search"].address, timeout=60.0))
        servers = {"Kafka": kafka.process.pid, "S3 server": s3.process.pid}
        fleet = Fleet(kafka.address, s3, folder, services, servers, api)
        _wait_until_ready(fleet)
        yield fleet


def prometheus_program() -> str:
    """Where Prometheus is. Raises `StackError` where it is not."""
    found = shutil.which("prometheus")
    if found is None:
        raise StackError("`prometheus` was not found: it measures the run; install it (Debian: apt install prometheus)")
    return found


async def _prepare(settings: KafkaSettings) -> None:
    # The store's own producer makes no topics.
    await check_broker(settings, timeout=30.0)
    await ensure_topics(settings, TOPICS)


def _start(name: str, parts: tuple[str, ...], folder: Path, environment: dict[str, str]) -> Service:
    data_dir = folder / parts[0]
    data_dir.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = data_dir / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.entry", "run", *parts, "--data-dir", str(data_dir)],
            env=environment | {"PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stream,
        )
    return Service(name, f"http://127.0.0.1:{port}", log, process)


def _wait_until_ready(fleet: Fleet) -> None:
    began = time.monotonic()
    while len(fleet.start_seconds) < len(fleet.services):
        waiting = [one for one in fleet.services.values() if one.name not in fleet.start_seconds]
        if time.monotonic() - began > READY_SECONDS:
            one = waiting[0]
            raise StackError(f"{one.name} was not ready: {one.log} ends with {one.log.read_text()[-1500:]}")
        fleet.start_seconds |= {one.name: time.monotonic() - began for one in waiting if one.ready(fleet.api)}
        time.sleep(0.2)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


def _clean_environment() -> dict[str, str]:
    # Somebody's own settings must not change what is measured.
    ours = ("SIGHTLINE_", "AWS_", "QDRANT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours) and name != "PORT"}
