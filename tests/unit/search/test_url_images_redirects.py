"""A redirect is a URL like any other, and there are few of them."""

import asyncio
from collections.abc import AsyncIterator

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


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/iam/",
        "http://[::1]/",
        "http://0x7f.1/",
        "//127.0.0.1/",
        "http://inner.example/",
        "http://photos.example:6379/",
        "http://me:secret@photos.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "data:image/jpeg;base64,/9j/4AAQSkZJRg==",
        "http://[::1",
        "http://localhost/",
        None,
    ],
)
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_checked_like_a_url(internet: Internet, location: str | None, status: str) -> None:
    internet.names["inner.example"] = ["10.0.0.7"]
    headers = {} if location is None else {"Location": location}
    async with site(answer(b"", status, **headers)) as go:
        internet.put(OTHER, go, "go.example")
        await refused(internet, "http://go.example/")
    assert internet.connected == [(OTHER, 80)]


async def test_a_redirect_to_the_same_name_is_resolved_and_checked_again(internet: Internet) -> None:
    async with site(answer(b"", "302 Found", Location="/again")) as go:
        internet.put(OTHER, go)
        answers = iter([[OTHER], ["127.0.0.1"]])

        async def rebinding(_: str) -> list[str]:
            return next(answers)

        async with UrlImages(LIMITS, resolve=rebinding, network=internet) as images:
            with pytest.raises(UrlRefused):
                await images.fetch("http://go.example/")
    assert internet.connected == [(OTHER, 80)]
    assert await internet.sink.untouched()


@pytest.mark.parametrize(("hops", "arrives"), [(1, True), (3, True), (4, False)])
async def test_three_redirects_are_followed_and_no_more(internet: Internet, hops: int, arrives: bool) -> None:
    async def serve(asked: Asked, writer: asyncio.StreamWriter) -> None:
        number = int(asked.path.strip("/"))
        last = "http://photos.example/" if number == hops else f"../{number + 1}"
        writer.write(answer(b"", "302 Found", Location=last))

    async with site(serve) as go:
        internet.put(OTHER, go, "go.example")
        async with images_of(internet) as images:
            if arrives:
                assert await images.fetch("http://go.example/1") == PHOTO
            else:
                with pytest.raises(UrlRefused):
                    await images.fetch("http://go.example/1")
        assert [asked.path for asked in go.asked] == [f"/{number}" for number in range(1, hops + 1)]


async def test_a_redirect_to_itself_ends(internet: Internet) -> None:
    async with site(answer(b"", "302 Found", Location="/")) as go:
        internet.put(OTHER, go, "go.example")
        await refused(internet, "http://go.example/")
        assert go.connections == 4


async def test_cookies_are_neither_kept_nor_sent(internet: Internet) -> None:
    async with site(
        answer(b"", "302 Found", Location="http://photos.example/", Set_Cookie="a=b; Domain=example")
    ) as go:
        internet.put(OTHER, go, "go.example")
        async with images_of(internet) as images:
            await images.fetch("http://go.example/")
    assert "cookie" not in internet.photos.asked[0].headers
    assert "referer" not in internet.photos.asked[0].headers
