"""Serves an ASGI app inside our own lifecycle: uvicorn without its signal handlers, on a socket bound beforehand.

uvicorn would replace the process's signal handlers, call `sys.exit` when a port is busy, and learn
that only after everything else has started. Here the socket is bound and listening first, a busy port
is a sentence, and whoever owns the signals says when to stop.
"""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import uvicorn

from runtime.log import Log
from schemas.errors import ConfigurationError

Scope = MutableMapping[str, Any]
AsgiApp = Callable[
    [Scope, Callable[[], Awaitable[MutableMapping[str, Any]]], Callable[[MutableMapping[str, Any]], Awaitable[None]]],
    Awaitable[None],
]

_BACKLOG = 512
_KEEP_ALIVE_SECONDS = 75
"""Longer than the idle time of the usual load balancers (60 s), so that they close first and lose no request."""

_LATECOMERS_SECONDS = 0.05

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (mapped to what a client can reach, not bound)


class HttpServer:
    """One app on one address. Use as an async context manager, or `run` it until an event is set.

    `bind` may be called beforehand, and should be, before anything slow or lasting starts: it takes
    the port or raises. The app's ASGI lifespan is not run; what the app needs is entered and left by
    the same lifecycle that owns this server.
    """

    def __init__(self, app: AsgiApp, host: str, port: int, *, drain_seconds: float = 10.0) -> None:
        """`port` 0 picks a free one; requests under way get `drain_seconds` to finish when the server stops."""
        self._app = app
        self._host = host
        self._port = port
        self._drain_seconds = drain_seconds
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._log = Log("sightline.http")

    def bind(self) -> None:
        """Take the address and listen; connections wait until the app is served. Idempotent.

        Raises `ConfigurationError` when the address is taken, unknown, not this machine's or not allowed.
        """
        if self._socket is not None:
            return
        try:
            self._socket = _listen(self._host, self._port)
        except OSError as error:
            raise ConfigurationError(_sentence(self._host, self._port, error)) from None
        self._socket.setblocking(False)

    def close(self) -> None:
        """Give the address back where `bind` was called and nothing came of it. Idempotent."""
        if self._socket is not None and self._server is None:
            self._socket.close()
            self._socket = None

    @property
    def port(self) -> int:
        """The port that is listened on; known once bound."""
        return int(self._bound().getsockname()[1])

    @property
    def address(self) -> str:
        """Where a client on this machine finds the app, as `http://host:port`; known once bound."""
        host = _WILDCARDS.get(self._host, self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def __aenter__(self) -> Self:
        """Bind if that was not done, and return once requests are answered. Raises `ConfigurationError`."""
        self.bind()
        config = uvicorn.Config(
            self._app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            workers=1,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(self._drain_seconds)),
        )
        server = self._server = _Server(config)
        server.begin(self._bound())
        try:
            await server.listening()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        self._log.info("http_listening", f"listening on {self.address}", address=self.address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop accepting, let requests under way finish within the drain time, and close."""
        server, self._server = self._server, None
        try:
            if server is not None:
                await server.end()
        finally:
            self.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises `ConfigurationError`, and whatever ends the serving before that."""
        async with self:
            await self.serve_until(stop)

    async def serve_until(self, stop: asyncio.Event) -> None:
        """For a server that was entered: return once `stop` is set; raise whatever ends the serving before that."""
        if self._server is None or not await self._server.outlives(stop):
            raise RuntimeError(f"the HTTP server on {self.address} ended by itself")

    def _bound(self) -> socket.socket:
        if self._socket is None:
            raise RuntimeError("the HTTP server is not bound; call bind() or enter it first")
        return self._socket


class _Server(uvicorn.Server):
    """uvicorn's server as a task, which leaves the process's signals alone and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._listens = asyncio.Event()

    def begin(self, bound: socket.socket) -> None:
        self._task = asyncio.create_task(self.serve(sockets=[bound]), name="http")

    async def listening(self) -> None:
        """Return once connections are accepted; raise what prevents it."""
        await self.outlives(self._listens)

    async def outlives(self, event: asyncio.Event) -> bool:
        """True once `event` is set, False when the task has ended before; raises what ended it."""
        waiting = asyncio.create_task(event.wait())
        try:
            await asyncio.wait({self._task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not event.is_set():
            await self._task
        return event.is_set()

    async def end(self) -> None:
        self.should_exit = True
        await self._task

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listens.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn tells the connections of this moment to end. One that was accepted in this very turn of the loop is
        # not among them yet: it would be waited for until the drain time is over, and stay open after that.
        told = set(self.server_state.connections)
        telling = asyncio.create_task(self._tell_latecomers(told))
        try:
            await super().shutdown(sockets)
            await self._give_up_what_is_left()
        finally:
            telling.cancel()

    async def _tell_latecomers(self, told: set[Any]) -> None:
        while True:
            await asyncio.sleep(_LATECOMERS_SECONDS)
            late = self.server_state.connections - told
            told |= late
            for connection in late:
                connection.shutdown()

    async def _give_up_what_is_left(self) -> None:
        """Cut off whoever did not take an answer within the drain time: the peer shall know that nothing comes."""
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=1)  # they were cancelled
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket on the first address of `host`, IPv4 before IPv6. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    # It listens at once: on Linux two sockets may be bound to one port until the first of them listens.
    listening = socket.create_server(
        (str(address[0]), int(address[1])),
        family=family,
        backlog=_BACKLOG,
        dualstack_ipv6=family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6(),
    )
    # asyncio sets it only where the socket names its protocol, which this one does not. Without it every answer but
    # a connection's first waits some 40 ms for the client's delayed acknowledgement; what is accepted inherits it.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _sentence(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"The host {host!r} is no address of this machine. Choose another with SIGHTLINE_HOST, such as 127.0.0.1"
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is taken by another process. Choose another with --port or PORT "
            "(0 picks a free one), or stop that process"
        )
    if error.errno == errno.EACCES:
        return f"Port {port} on {host} is not open to this user. Choose one above 1023 with --port or PORT"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine. Choose another with SIGHTLINE_HOST, such as 127.0.0.1 or 0.0.0.0"
    reason = error.strerror or str(error)
    return f"Cannot listen on {host} port {port}: {reason}. Choose another address with SIGHTLINE_HOST, --port or PORT"
