"""Asks an ASGI app of this very process as if it were a service."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import httpx

from runtime.http import AsgiApp


class Within(httpx.AsyncBaseTransport):
    """Hands bodies on as they come: httpx's own transport for apps keeps an export in memory until it is complete."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The app's answer. Raises what the app raises."""
        talk = _Talk(self._app, _scope(request), await request.aread())
        try:
            start = await talk.next()
        except BaseException:
            await talk.end()
            raise
        return httpx.Response(start["status"], headers=start.get("headers", []), stream=_Body(talk))


class _Talk:
    """One request and its answer. The app runs ahead by one message, no more."""

    def __init__(self, app: AsgiApp, scope: MutableMapping[str, Any], body: bytes) -> None:
        self._arrives: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
        self._sent: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue(1)
        self._answering = asyncio.ensure_future(app(scope, self._receive, self._sent.put))

    async def next(self) -> MutableMapping[str, Any]:
        """The next message. Raises what the app raises instead of one."""
        waiting = asyncio.create_task(self._sent.get())
        try:
            await asyncio.wait((waiting, self._answering), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done() and self._sent.empty():
                await self._answering
                raise RuntimeError("the app ended without an answer")
            return await waiting
        finally:
            waiting.cancel()

    async def end(self, *, complete: bool = False) -> None:
        """Let the app end, or cut it off. Raises what it raises after a complete answer."""
        if not complete:
            self._answering.cancel()
        await asyncio.wait((self._answering,))
        if complete:
            self._answering.result()

    async def _receive(self) -> MutableMapping[str, Any]:
        if not self._arrives:
            await asyncio.Event().wait()  # nobody hangs up: whoever asks no longer listens cuts the app off
        return self._arrives.pop()


class _Body(httpx.AsyncByteStream):
    def __init__(self, talk: _Talk) -> None:
        self._talk = talk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._talk.next()
            yield message.get("body", b"")
            more = message.get("more_body", False)
        await self._talk.end(complete=True)

    async def aclose(self) -> None:
        await self._talk.end()


def _scope(request: httpx.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 0),
        "root_path": "",
    }
