"""A real Prometheus, its questions, and what the run tells it besides: uploads, lag, and what each process uses."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from benchmarks.load.fleet import prometheus_program
from deploy.stack.process import free_port, spawn, wait_until_listening

GROUPS = {
    "bucket-notifications": "sightline-ingest",
    "image-events": "sightline-embedder",
    "image-embeddings": "sightline-indexer",
}
"""Who reads which topic."""


OTHERS = "others"
"""What the run did not start: it should be next to nothing."""


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus that scrapes every second."""

    client: httpx.Client

    def range(self, query: str, start: float, end: float, step: float = 1.0) -> list[dict[str, Any]]:
        """The series of a query over Unix times, as the HTTP API gives them. Raises `httpx.HTTPStatusError`."""
        asked = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        answer = self.client.get("/api/v1/query_range", params=asked).raise_for_status().json()
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def at(self, query: str, time: float) -> list[dict[str, Any]]:
        """The samples of a query at a Unix time."""
        asked = {"query": query, "time": f"{time:.3f}"}
        answer = self.client.get("/api/v1/query", params=asked).raise_for_status().json()
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def targets_up(self) -> dict[str, bool]:
        """Whether the last scrape of each target succeeded, by the label `process`."""
        answer = self.client.get("/api/v1/targets", params={"state": "active"}).raise_for_status().json()
        return {one["labels"]["process"]: one["health"] == "up" for one in answer["data"]["activeTargets"]}


@contextmanager
def running_prometheus(folder: Path, targets: Mapping[str, str]) -> Iterator[tuple[Prometheus, int]]:
    """Prometheus over `targets` (host:port by name), and its process number; it is stopped at the end.

    Raises `StackError` where it is missing or does not come up.
    """
    folder = folder / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    statics = [{"targets": [target], "labels": {"process": name}} for name, target in targets.items()]
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "sightline", "static_configs": statics}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    process = spawn(
        "prometheus",
        [
            prometheus_program(),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ],
        folder,
    )
    try:
        wait_until_listening(process, port)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as client:
            yield Prometheus(client), process.pid
    finally:
        process.stop()


@dataclass(frozen=True)
class Usage:
    """What a process and its children have used: seconds of processor time since their start, bytes resident now."""

    cpu: float
    resident: int


class Processes:
    """The processes of the run by name, each with the children that it had when it was named."""

    def __init__(self) -> None:
        self._named: dict[str, list[psutil.Process]] = {}
        self._others = 0.0

    def add(self, name: str, pid: int) -> None:
        """Name a process."""
        one = psutil.Process(pid)
        # The run's own process is a parent of all the others, which have names of their own.
        children = [] if pid == psutil.Process().pid else one.children(recursive=True)
        self._named[name] = [one, *children]

    def usage(self) -> dict[str, Usage]:
        """What each has used; one that ended is left out of the sum. `OTHERS` is all that the machine did besides."""
        told = {name: _usage(processes) for name, processes in self._named.items()}
        # The two are not counted at the same moment, and a counter must not fall.
        self._others = max(self._others, _busy() - sum(used.cpu for used in told.values()))
        told[OTHERS] = Usage(self._others, 0)
        return told


@dataclass(frozen=True)
class Moment:
    """What every process had used at a Unix time."""

    usage: dict[str, Usage]
    at: float = field(default_factory=time.time)

    @classmethod
    def of(cls, processes: Processes) -> "Moment":
        """Now."""
        return cls(processes.usage())

    def spent(self, later: "Moment", idle: Mapping[str, float] | None = None) -> dict[str, float]:
        """Core-seconds until a later moment by process, without `OTHERS`; `idle` are cores that do not count."""
        seconds = later.at - self.at
        return {
            name: later.usage[name].cpu - used.cpu - (idle or {}).get(name, 0.0) * seconds
            for name, used in self.usage.items()
            if name != OTHERS
        }


def _busy() -> float:
    # What a hypervisor gives to other machines was not ours either.
    times = psutil.cpu_times()
    return float(
        times.user + times.system + getattr(times, "irq", 0) + getattr(times, "softirq", 0) + getattr(times, "steal", 0)
    )


def _usage(processes: Sequence[psutil.Process]) -> Usage:
    cpu, resident = 0.0, 0
    for process in processes:
        with suppress(psutil.NoSuchProcess), process.oneshot():
            times = process.cpu_times()
            cpu += times.user + times.system
            resident += process.memory_info().rss
    return Usage(cpu, resident)


class ProcessCollector(Collector):
    """Tells Prometheus, at each scrape, what each process uses."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def collect(self) -> Iterator[Metric]:
        """Seconds of processor time and resident bytes, by process."""
        cpu = CounterMetricFamily("load_process_cpu_seconds", "Processor time", labels=["name"])
        resident = GaugeMetricFamily("load_process_resident_bytes", "Resident memory", labels=["name"])
        for name, used in self._processes.usage().items():
            cpu.add_metric([name], used.cpu)
            if used.resident:
                resident.add_metric([name], used.resident)
        yield from (cpu, resident)


class RunMetrics:
    """What the run itself tells Prometheus. The services refresh their own lag every 10 s; here it is every second."""

    def __init__(self, processes: Processes) -> None:
        self.registry = CollectorRegistry()
        self.uploads = Counter("load_uploads", "Uploads that the S3 server acknowledged", registry=self.registry)
        self.bytes = Counter("load_upload_bytes", "Bytes of acknowledged uploads", registry=self.registry)
        self.lag = Gauge(
            "load_kafka_lag_records",
            "Records that a topic's group has not committed",
            ["topic"],
            registry=self.registry,
        )
        self.registry.register(ProcessCollector(processes))

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve them; the value is host:port."""
        port = free_port()
        server, thread = start_http_server(port, "127.0.0.1", registry=self.registry)
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.shutdown()
            thread.join()


class LagWatch:
    """Asks Kafka every second how far each group is behind, in a thread of its own; a context manager."""

    def __init__(self, servers: str, metrics: RunMetrics) -> None:
        self._servers = servers
        self._metrics = metrics
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="lag", daemon=True)
        self.ends: dict[str, int] = {}
        """Records ever written, by topic."""
        self.lags: dict[str, int] = {}
        self.looks: list[tuple[float, dict[str, int]]] = []
        """Unix times and lags by topic: what Prometheus sees up to two seconds later."""

    def __enter__(self) -> "LagWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10.0)

    async def _run(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._servers)
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await consumer.start()
        await admin.start()
        try:
            await consumer._client.force_metadata_update()
            while not self._stop.is_set():
                for topic, group in GROUPS.items():
                    await self._look(consumer, admin, topic, group)
                self.looks.append((time.time(), dict(self.lags)))
                await asyncio.sleep(1.0)
        finally:
            await admin.close()
            await consumer.stop()

    async def _look(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient, topic: str, group: str) -> None:
        partitions = [TopicPartition(topic, one) for one in consumer.partitions_for_topic(topic) or ()]
        committed = await admin.list_consumer_group_offsets(group)
        ends = await consumer.end_offsets(partitions)
        done = {one: max(0, committed[one].offset) for one in partitions if one in committed}
        self.ends[topic] = sum(ends.values())
        self.lags[topic] = sum(max(0, end - done.get(one, 0)) for one, end in ends.items())
        self._metrics.lag.labels(topic).set(self.lags[topic])
