"""What a public site may answer: an image of bearable size, in time, or nothing that is taken."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from services.search.urls.url_images import UrlImages, UrlRefused
from tests.unit.search.internet import (
    LIMITS,
    OTHER,
    PHOTO,
    Asked,
    Internet,
    answer,
    images_of,
    refused,
    site,
    small_internet,
)


@pytest.fixture
async def internet() -> AsyncIterator[Internet]:
    async with small_internet() as made:
        yield made


async def endless(_: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + PHOTO)
    while True:
        writer.write(bytes(65536))
        await writer.drain()


async def endless_in_chunks(_: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
        await writer.drain()


async def endless_headers(_: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 65536 + b"\r\n")
        await writer.drain()


async def endless_hints(_: Asked, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 1000)
        await writer.drain()


BOMB = gzip.compress(PHOTO + bytes(50_000_000))


@pytest.mark.parametrize(
    ("serve", "cause"),
    [
        pytest.param(endless, "exceeds 500000 bytes", id="endless"),
        pytest.param(endless_in_chunks, "exceeds 500000 bytes", id="endless in chunks"),
        pytest.param(endless_headers, "RemoteProtocolError", id="endless headers"),
        pytest.param(endless_hints, "was not there within", id="endless hints"),
        pytest.param(answer(Content_Length="999999999999"), "announces 999999999999 bytes", id="announced too large"),
        pytest.param(answer(PHOTO + bytes(1_000_000)), "announces", id="too large"),
        pytest.param(answer(BOMB, Content_Encoding="gzip"), "packed as 'gzip'", id="gzip bomb"),
        pytest.param(answer(gzip.compress(PHOTO), Content_Encoding="gzip"), "packed as 'gzip'", id="gzip"),
        pytest.param(answer(PHOTO, Content_Encoding="identity, gzip"), "packed as 'identity, gzip'", id="codings"),
        pytest.param(answer(gzip.compress(PHOTO)), "no image: it looks like gzip", id="gzip unannounced"),
        pytest.param(answer(b"", "204 No Content"), "status 204", id="no content"),
        pytest.param(answer(status="206 Partial Content"), "status 206", id="a part"),
        pytest.param(answer(status="404 Not Found"), "status 404", id="not found"),
        pytest.param(answer(status="401 Who", WWW_Authenticate="Basic"), "status 401", id="sign in"),
        pytest.param(answer(status="500 Oh"), "status 500", id="error"),
        pytest.param(answer(b""), "no image", id="empty"),
        pytest.param(
            answer(b"<!doctype html><p>root:x:0:0"), "no image: it looks like an HTML page", id="page called an image"
        ),
        pytest.param(answer(kind="text/html; charset=utf-8"), "type 'text/html'", id="image called a page"),
        pytest.param(answer(kind="application/json"), "type 'application/json'", id="image called json"),
        pytest.param(answer(b"<svg xmlns='http://www.w3.org/2000/svg'/>", kind="image/svg+xml"), "no image", id="svg"),
        pytest.param(answer(Content_Length=str(len(PHOTO) + 1)), "RemoteProtocolError", id="cut short"),
        pytest.param(answer(Content_Length="-1"), "RemoteProtocolError", id="negative length"),
        pytest.param(answer(Content_Length="many"), "RemoteProtocolError", id="no length"),
        pytest.param(b"+OK redis\r\n\r\n", "RemoteProtocolError", id="another protocol"),
        pytest.param(b"", "RemoteProtocolError", id="hung up"),
    ],
)
async def test_what_is_no_image_of_bearable_size_fails_in_the_same_words(
    internet: Internet, caplog: pytest.LogCaptureFixture, serve: bytes, cause: str
) -> None:
    async with site(serve) as bad:
        internet.put(OTHER, bad, "bad.example")
        started = time.monotonic()
        await refused(internet, "http://bad.example/", replace(LIMITS, image_bytes=500_000, seconds=2))
        assert time.monotonic() - started < 4
    assert cause in caplog.text


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "binary/octet-stream", "", None])
async def test_a_photo_of_any_likely_type_is_taken(internet: Internet, kind: str | None) -> None:
    async with site(answer(kind=kind)) as odd:
        internet.put(OTHER, odd, "odd.example")
        async with images_of(internet) as images:
            assert await images.fetch("http://odd.example/") == PHOTO


async def drip_body(_: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(PHOTO[:100], Content_Length="100000"))
    while True:
        writer.write(b"\0")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_head(_: Asked, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"H")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silence(_: Asked, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def slow_redirects(_: Asked, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.2)
    writer.write(answer(b"", "302 Found", Location="/"))


@pytest.mark.parametrize("serve", [drip_body, drip_head, silence, slow_redirects])
async def test_a_fetch_ends_in_its_time_however_slowly_it_is_answered(
    internet: Internet, serve: Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]
) -> None:
    async with site(serve) as slow:
        internet.put(OTHER, slow, "slow.example")
        started = time.monotonic()
        await refused(internet, "http://slow.example/", replace(LIMITS, seconds=0.5))
        assert 0.4 < time.monotonic() - started < 10


async def test_a_name_server_that_does_not_answer_is_not_waited_for(internet: Internet) -> None:
    async def never(_: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with UrlImages(replace(LIMITS, seconds=0.1), resolve=never, network=internet) as images:
        with pytest.raises(UrlRefused):
            await images.fetch("http://photos.example/")
