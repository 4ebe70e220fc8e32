"""A real `sightline` process, driven as a person or a program drives it: by its command line, folder and HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cli.address import read_address

PATIENCE = 120.0
"""Seconds; far more than anything takes, since a machine that is busy with other tests must fail none."""


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "cli.entry", *map(str, arguments)]


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SIGHTLINE_", "AWS_", "QDRANT_"))}
    kept = {name: value for name, value in kept.items() if name not in ("PORT", "LOG_LEVEL")}
    # Without torch a process starts in a second; what the default model finds has tests of its own.
    return kept | {"SIGHTLINE_ENCODER__MODEL": "hashing"} | dict(more or {})


def run_command(
    *arguments: str | Path, timeout: float = PATIENCE, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments),
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def wait_for(true: Callable[[], object], what: str, *, patience: float = PATIENCE, every: float = 0.02) -> float:
    """Seconds until `true` holds; fails saying `what` did not happen."""
    started = time.monotonic()
    while not true():
        if time.monotonic() - started > patience:
            raise AssertionError(f"{what} did not happen within {patience:g} s")
        time.sleep(every)
    return time.monotonic() - started


class Running:
    """A started process with an HTTP address of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", data_dir: Path, log: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self.log = log
        self.client = httpx.Client(timeout=30)
        self.where: dict[str, str] = {}
        """Filters of every question, for tests that share an index's topics with others."""

    @property
    def url(self) -> str:
        address = read_address(self.data_dir)
        assert address is not None
        return address.url

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, f"it exited with {self.process.poll()}: {self.log.read_text()[-3000:]}"
            address = read_address(self.data_dir)
            if address is None or address.pid != self.process.pid:
                return False
            try:
                return self.client.get(f"{address.url}/readyz").status_code == 200
            except httpx.TransportError:
                return False

        wait_for(ready, "readiness")

    def get(self, path: str, **params: Any) -> Any:
        response = self.client.get(self.url + path, params=params)
        assert response.is_success, response.text
        return response.json()

    def images(self, status: str = "indexed") -> dict[str, dict[str, Any]]:
        """Everything of one status, by key."""
        found: dict[str, dict[str, Any]] = {}
        cursor: str | None = None
        while True:
            page = self.get(
                "/v1/images", limit=1000, status=status, **self.where, **({"cursor": cursor} if cursor else {})
            )
            found |= {image["key"]: image for image in page["images"]}
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def search_by(self, image: bytes, limit: int = 1) -> list[dict[str, Any]]:
        response = self.client.post(
            f"{self.url}/v1/search", params={"limit": str(limit)} | self.where, files={"image": ("x", image)}
        )
        assert response.is_success, response.text
        results: list[dict[str, Any]] = response.json()["results"]
        return results

    def best(self, image: bytes) -> str | None:
        """The key of the best result, where it is the very picture."""
        return next((hit["key"] for hit in self.search_by(image) if hit["score"] > 0.999), None)

    def status(self) -> Any:
        return self.get("/v1/status")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        total = 0.0
        for line in self.client.get(f"{self.url}/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{key}="{one}"' in sample for key, one in labels.items()):
                total += float(value)
        return total

    def resident_bytes(self, peak: bool = False) -> int:
        field = "VmHWM" if peak else "VmRSS"
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def sightline(
    *arguments: str | Path, data_dir: Path, wait: bool = True, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A running process; killed at the end if the test has not ended it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / f"log-{time.monotonic_ns()}.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command(*arguments, "--data-dir", data_dir), env=clean_environment(environment), stderr=stream
        )
        running = Running(process, data_dir, log)
        try:
            if wait:
                running.wait_until_ready()
            yield running
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            running.client.close()


def log_actions(log: Path) -> list[str]:
    return [json.loads(line)["action"] for line in log.read_text().splitlines() if line.startswith("{")]
