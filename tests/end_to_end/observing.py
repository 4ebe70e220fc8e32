"""A fleet on real Kafka and one machine's `sightline up`, under load and in trouble, with a real Prometheus watching.

What operators see of trouble must be real too, so some is made: a broken image, a store that is away while an object
is looked at and while an original is asked for, requests of a page elsewhere. Two things cannot be made here and come
from files instead, each served to Prometheus as one more target: the card's metrics (samples/accelerator.prom, in the
form that a process with a card shows them), since there is no card; and reconcile's, which end with its process and
reach Prometheus through the textfile collector of node_exporter, for which a small server stands.
"""

import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from deploy.stack import S3Server
from tests.end_to_end.running import Running, run_command, sightline, wait_for
from tests.end_to_end.test_kafka import Fleet
from tests.prometheus import Prometheus, running
from tests.repository.promql import RULE_FILES

SAMPLES = Path(__file__).parent / "samples"
FROM_CARDS = "sightline_accelerator_"
"""Series that only a process with a card has."""
SETTLED_SECONDS = 12.0
"""Consumers tell their lag every 10 s, and a rate needs two samples."""


def url_of(process: Running) -> str:
    """Where a process of the fleet listens; only search leaves its address in the data folder."""
    found = re.search(r"ready at (http://\S+)", process.log.read_text())
    assert found is not None
    return found[1]


@contextmanager
def text_target(*files: Path) -> Iterator[str]:
    """The address of a server that answers with these files; one that is not there yet is empty."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"".join(path.read_bytes() for path in files if path.exists())
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Load:
    """Uploads and searches until it is told to stop."""

    def __init__(self, fleet: Fleet, folder: Path, alone: Running, pictures: Sequence[Path]) -> None:
        self._fleet = fleet
        self._folder = folder
        self._alone = alone
        self._bytes = [path.read_bytes() for path in pictures]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.uploads_paused = threading.Event()
        self.error: BaseException | None = None

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            for number in range(100_000):
                if self._stop.wait(0.15):
                    return
                data = self._bytes[number % len(self._bytes)] if number % 7 else b"<html>no image</html>"
                if not self.uploads_paused.is_set():
                    self._fleet.put(f"load/{number}.jpg" if number % 5 else f"load/{number}.txt", data)
                (self._folder / f"{number}.jpg").write_bytes(data)
                for process in (self._fleet.search, self._alone):
                    process.get("/v1/images", limit=5)
                    process.search_by(self._bytes[0])
        except BaseException as error:  # told to whoever waits, in `__exit__`
            self.error = error


@contextmanager
def observed(
    fleet: Fleet, server: S3Server, pictures: Sequence[Path], folder: Path, environment: Mapping[str, str]
) -> Iterator[Prometheus]:
    """A Prometheus that has watched the load and the trouble for long enough that every series is there."""
    watched = folder / "photos"
    watched.mkdir(parents=True)
    reconciled = folder / "reconcile.prom"
    with ExitStack() as entered:
        alone = entered.enter_context(
            sightline("up", watched, "--port", "0", data_dir=folder / "alone", environment=environment)
        )
        files = entered.enter_context(text_target(SAMPLES / "accelerator.prom", reconciled))
        urls = [url_of(fleet.ingest), url_of(fleet.embedder), fleet.search.url, alone.url]
        jobs = {"sightline": [url.removeprefix("http://") for url in urls], "files": [files]}
        prometheus = entered.enter_context(running(folder / "prometheus", jobs, RULE_FILES))
        with Load(fleet, watched, alone, pictures) as load:
            wait_for(lambda: len(fleet.search.images()) > 5, "images on Kafka being found", every=0.5)
            _refused(fleet.search)
            load.uploads_paused.set()
            _store_away(fleet, server)
            load.uploads_paused.clear()
            _reconcile(fleet, reconciled)
            time.sleep(SETTLED_SECONDS)
            yield prometheus


def _refused(search: Running) -> None:
    page_elsewhere = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    answer = httpx.post(f"{search.url}/v1/search", headers=page_elsewhere, json={"query": "a boat"}, trust_env=False)
    assert answer.status_code == 403, answer.text


def _store_away(fleet: Fleet, server: S3Server) -> None:
    """The store is away between a notification and the look, and while somebody asks for an original."""
    one = next(iter(fleet.search.images().values()))["id"]
    fleet.embedder.process.send_signal(signal.SIGSTOP)
    told = partial(metric_at, url_of(fleet.ingest), "sightline_notifications_total")
    before = told()
    for number in range(8):
        fleet.put(f"while-away/{number}.jpg", b"late")
    wait_for(lambda: told() >= before + 8, "the notifications of it", every=0.1)
    server.process.pause()
    fleet.embedder.process.send_signal(signal.SIGCONT)
    try:
        wait_for(lambda: _asks_for_original(fleet.search, one) >= 500, "an original failing", every=0.5)
        waits = partial(metric_at, url_of(fleet.embedder), "sightline_retries_total")
        wait_for(lambda: waits() > 0, "the embedder trying again", every=0.5)
    finally:
        server.process.resume()


def metric_at(url: str, name: str) -> float:
    """The sum of a metric's samples in a process."""
    lines = httpx.get(f"{url}/metrics", trust_env=False).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def _asks_for_original(search: Running, image: str) -> int:
    return httpx.get(f"{search.url}/v1/images/{image}/thumbnail", timeout=30, trust_env=False).status_code


def _reconcile(fleet: Fleet, metrics: Path) -> None:
    source = f"s3://{fleet.bucket}"
    arguments = ("reconcile", source, "--metrics-file", metrics, "--data-dir", fleet.data_dir)
    done = run_command(*arguments, timeout=60, environment=fleet.environment)
    assert metrics.exists(), done.stderr
