"""A server in this process that behaves like the services, as far as their documentation and their users tell."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

from encoders.registry import make_encoder
from encoders.remote.clock import Clock
from encoders.remote.encoder import RemoteEncoder
from encoders.remote.options import HF_TOKEN, REPLICATE_API_TOKEN, SELF_HOSTED_TOKEN, RemoteOptions
from encoders.remote.token import Token
from imaging.decode import decode

TOKEN = "secret-hunter2-token"
DIMENSION = 12


@dataclass
class Answer:
    """What the server sends: JSON, or text where `body` is a string."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    data: bytes

    def json(self) -> Any:
        return json.loads(self.data)

    def part(self, name: str) -> bytes:
        """The content of a multipart field."""
        boundary = re.search("boundary=(.+)", self.headers["content-type"])
        assert boundary is not None
        for part in self.data.split(b"--" + boundary[1].encode()):
            head, _, content = part.partition(b"\r\n\r\n")
            if f'name="{name}"'.encode() in head:
                return content.removesuffix(b"\r\n")
        raise AssertionError(f"there is no field {name}")


def look(jpeg: bytes) -> list[float]:
    """A vector that tells pictures apart: the mean colours of four quarters. Not of unit length."""
    pixels = np.asarray(decode(jpeg, max_pixels=10**8).image.resize((2, 2), Image.Resampling.BOX), dtype=float)
    return [float(value) + 1 for value in pixels.reshape(-1)]


def words(text: str) -> list[float]:
    """A vector that tells words apart."""
    return [float(1 + (len(text) * (at + 1)) % 7) for at in range(DIMENSION)]


class Service:
    """Answers by `respond`, which may be replaced at any time; `asked` keeps every request."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.respond: Callable[[Asked], Answer] = lambda asked: Answer(body=look(asked.data))
        self.busy = self.most_busy = 0
        self.url = ""
        self._lock = threading.Lock()

    def answer(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        try:
            return self.respond(asked)
        finally:
            with self._lock:
                self.busy -= 1

    def then(self, *answers: Answer) -> None:
        """Give these answers first, then go on as before."""
        before, waiting = self.respond, list(answers)

        def respond(asked: Asked) -> Answer:
            with self._lock:
                one = waiting.pop(0) if waiting else None
            return one or before(asked)

        self.respond = respond


class FakeClock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []
        self.start = datetime(2026, 3, 14, 15, 0, tzinfo=UTC)
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        with self._lock:
            self.slept.append(seconds)
            self.time += seconds

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.time - 1000)

    def clock(self) -> Clock:
        return Clock(lambda: self.time, self.sleep, self.now)


@contextmanager
def running(service: Service) -> Iterator[Service]:
    """Serve on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = service.answer(Asked(self.command, self.path, headers, data))
            body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            try:
                self.send_response_only(answer.status)
                for name, value in {"Content-Length": str(len(body.encode())), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())
            except OSError:
                self.close_connection = True

        def do_GET(self) -> None:
            self._any()

        def do_POST(self) -> None:
            self._any()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def options(service: Service, clock: FakeClock | None = None, **others: Any) -> RemoteOptions:
    """Options that lead to the server, with tokens for every service."""
    tokens = {name: Token(name, TOKEN) for name in (HF_TOKEN, REPLICATE_API_TOKEN, SELF_HOSTED_TOKEN)}
    values: dict[str, Any] = {"url": service.url, "tokens": tokens, "clock": (clock or FakeClock()).clock()}
    # Not more patience at the start than later, so that a test need not get through the start first.
    values["start_patience"] = others.get("patience", 15.0)
    return RemoteOptions(**{**values, **others})


def remote(name: str, service: Service, clock: FakeClock | None = None, **others: Any) -> RemoteEncoder:
    """An encoder on the server, not loaded."""
    encoder = make_encoder(name, remote=options(service, clock, **others))
    assert isinstance(encoder, RemoteEncoder)
    return encoder
