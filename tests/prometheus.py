"""A real Prometheus for tests, and its tool that checks rules."""

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.stack.errors import MissingTool
from deploy.stack.process import free_port


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`. Raises `MissingTool`."""
    found = shutil.which(name)
    if found is None:
        raise MissingTool(f"{name} is not installed; on Debian: apt-get install prometheus")
    return found


class Prometheus:
    """A running server, asked over HTTP as Grafana asks it."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def get(self, path: str, **params: str) -> Any:
        """The data of an answer; an error of the query is an assertion that repeats it."""
        answer = self._client.get(path, params=params).json()
        assert answer["status"] == "success", f"{params}: {answer.get('error')}"
        return answer["data"]

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The series of an answer, each with its labels and its newest value; a number is one series."""
        data = self.get("/api/v1/query", query=query)
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        found: list[dict[str, Any]] = data["result"]
        return found

    def targets(self) -> dict[str, str]:
        """The health of every target by its address."""
        active = self.get("/api/v1/targets", state="active")["activeTargets"]
        return {target["labels"]["instance"]: target["health"] for target in active}

    def ready(self) -> bool:
        """Whether it answers queries."""
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connection to it."""
        self._client.close()


@contextmanager
def running(folder: Path, jobs: Mapping[str, Sequence[str]], rule_files: Sequence[Path]) -> Iterator[Prometheus]:
    """A server that scrapes these addresses by job every other second, and evaluates these rules every second.

    The rules are copies, since their groups have intervals of their own that are too long for a test.
    """
    rules = folder / "rules"
    rules.mkdir(parents=True)
    for path in rule_files:
        groups = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in groups["groups"]:
            group["interval"] = "1s"
        (rules / path.name).write_text(yaml.safe_dump(groups), encoding="utf-8")
    config = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": ["rules/*.yml"],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses)}]} for job, addresses in jobs.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address, log = f"127.0.0.1:{free_port()}", folder / "prometheus.log"
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    server = Prometheus(f"http://{address}", log)
    try:
        deadline = time.monotonic() + 30
        while not server.ready():
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, f"Prometheus did not become ready: {log.read_text()[-2000:]}"
            time.sleep(0.1)
        yield server
    finally:
        server.close()
        process.terminate()
        process.wait(30)
