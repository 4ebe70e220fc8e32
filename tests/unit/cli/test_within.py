"""An app of this process, asked as if it were a service."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from cli.within import Within
from runtime.http import AsgiApp


def asking(app: AsgiApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=Within(app), base_url="http://sightline")


async def test_method_path_parameters_headers_and_body_arrive() -> None:
    app = FastAPI()

    @app.post("/é/{name}")
    async def told(name: str, q: str, request: Request) -> dict[str, str]:
        return {"name": name, "q": q, "header": request.headers["x-one"], "body": (await request.body()).decode()}

    async with asking(app) as client:
        answer = await client.post("/é/a b", params={"q": "ü&"}, headers={"X-One": "1"}, content=b"bytes")
    assert answer.json() == {"name": "a b", "q": "ü&", "header": "1", "body": "bytes"}


async def test_a_body_is_handed_on_as_it_comes_and_no_further_ahead() -> None:
    app, made, ended = FastAPI(), 0, asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield b"piece"

    @app.get("/")
    async def endless() -> StreamingResponse:
        return StreamingResponse(pieces())

    async def noticed(*call: Any) -> None:
        try:
            await app(*call)
        finally:
            ended.set()

    async with asyncio.timeout(10), asking(noticed) as client:
        async with client.stream("GET", "/") as answer:
            assert answer.status_code == 200
            taken = 0
            async for _ in answer.aiter_raw():
                taken += 1
                assert made <= taken + 3
                if taken == 100:
                    break
        await ended.wait()


async def test_what_the_app_raises_is_raised() -> None:
    app = FastAPI()

    @app.get("/")
    async def broken() -> None:
        raise LookupError("here")

    @app.get("/late")
    async def broken_late() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one"
            raise LookupError("late")

        return StreamingResponse(pieces())

    async with asking(app) as client:
        with pytest.raises(LookupError, match="here"):
            await client.get("/")
        with pytest.raises(LookupError, match="late"):
            await client.get("/late")
