"""An internet of a few URLs, some of which never answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from runtime.http import AsgiApp
from services.search.urls.linked_images import SHARE
from services.search.urls.url_images import UrlRefused

SLOW = "https://slow.example/"


class Web:
    """URLs with their bytes; those of a slow server hang, and all others are refused. Counts what is in hand."""

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self.pages = pages
        self.asked: list[str] = []
        self.now = 0
        self.most = 0
        self.changed = asyncio.Condition()

    async def holds(self, fetches: int) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: self.now == fetches)

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            async with self.changed:
                self.changed.notify_all()
            await asyncio.sleep(0)
            if url.startswith(SLOW):
                await asyncio.Event().wait()
            if url not in self.pages:
                raise UrlRefused
            return self.pages[url]
        finally:
            self.now -= 1


def slow(count: int) -> list[str]:
    return [f"{SLOW}{number}" for number in range(count)]


@asynccontextmanager
async def held(*requests: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Requests that go on meanwhile, and are given up at the end."""
    tasks = [asyncio.create_task(one) for one in requests]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def hang_up_on(app: AsgiApp, path: str, body: object, web: Web) -> None:
    """Post JSON with URLs of the slow server, hang up once they are being fetched, and wait until the app is done."""
    hung_up = asyncio.Event()
    arrives = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if arrives:
            return arrives.pop()
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(_: MutableMapping[str, Any]) -> None:
        pass

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b"", "root_path": ""}
    answering = asyncio.ensure_future(app(scope, receive, send))
    await web.holds(SHARE)
    hung_up.set()
    async with asyncio.timeout(10):
        await answering
