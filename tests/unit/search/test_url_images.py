"""Images by URL: what is fetched, what is bounded, and what is told."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Network

import httpcore
import pytest

from runtime.log import JsonFormatter
from services.search.urls.url_fetching import PinnedNetwork
from services.search.urls.url_images import UrlImages, UrlRefused
from tests.unit.search.internet import (
    LIMITS,
    OTHER,
    PHOTO,
    PUBLIC,
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
    "url",
    [
        "http://photos.example/a/b.jpg?w=200",
        "HTTP://PHOTOS.example:80/a/b.jpg?w=200#part",
        "  http://photos.example./a/b.jpg?w=200\n",
        f"http://{PUBLIC}/a/b.jpg?w=200",
        "http://photos.example/a/b.jpg?w=200#@127.0.0.1:22/",
    ],
)
async def test_a_photo_on_a_public_host_is_fetched(internet: Internet, url: str) -> None:
    async with images_of(internet) as images:
        assert await images.fetch(url) == PHOTO
    assert internet.photos.asked[0].path == "/a/b.jpg?w=200"
    assert internet.photos.asked[0].headers["host"] in ("photos.example", PUBLIC)


async def test_names_in_other_alphabets_are_fetched(internet: Internet) -> None:
    internet.names["xn--bcher-kva.example"] = [PUBLIC]
    async with images_of(internet) as images:
        assert await images.fetch("http://Bücher.example/ü.jpg") == PHOTO
    assert internet.resolved == ["xn--bcher-kva.example"]


async def test_ipv6_and_addresses_behind_a_translator_are_fetched(internet: Internet) -> None:
    for address in ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d822"):
        internet.put(address, internet.photos, "six.example")
        async with images_of(internet) as images:
            assert await images.fetch("http://six.example/") == PHOTO
            assert await images.fetch(f"http://[{address}]/") == PHOTO


async def test_the_request_carries_nothing_of_this_machine(
    internet: Internet, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netrc = tmp_path_factory.mktemp("home") / ".netrc"
    netrc.write_text("machine photos.example login me password secret\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{internet.sink.port}")
    async with images_of(internet) as images:
        await images.fetch("http://photos.example/")
        await images.fetch("http://photos.example/")
    assert internet.photos.connections == 2  # none is used twice
    for asked in internet.photos.asked:
        assert set(asked.headers) == {"host", "accept", "accept-encoding", "user-agent", "connection"}
        assert asked.headers["accept-encoding"] == "identity"
    assert await internet.sink.untouched()


async def test_an_address_that_does_not_answer_gives_way_to_the_next(internet: Internet) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        internet.put(OTHER, closed.getsockname()[1])
        internet.names["two.example"] = [OTHER, PUBLIC]
        async with images_of(internet) as images:
            assert await images.fetch("http://two.example/") == PHOTO
    assert internet.connected == [(OTHER, 80), (PUBLIC, 80)]


async def test_no_more_fetches_run_at_once_than_there_are_slots(internet: Internet) -> None:
    running, most, opened = 0, 0, asyncio.Event()

    async def serve(_: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            opened.set()
        await opened.wait()
        await asyncio.sleep(0.05)  # in which a fourth would come
        running -= 1
        writer.write(answer())

    async with site(serve) as busy:
        internet.put(OTHER, busy, "busy.example")
        async with images_of(internet, replace(LIMITS, concurrency=3)) as images:
            fetched = await asyncio.gather(*(images.fetch("http://busy.example/") for _ in range(12)))
    assert fetched == [PHOTO] * 12
    assert most == 3


async def test_a_refusal_takes_as_long_whatever_its_cause(internet: Internet) -> None:
    internet.names["inner.example"] = ["10.0.0.1"]
    causes = ["http://127.0.0.1/", "http://inner.example/", "http://nowhere.example/", "ftp://a.example/", "nonsense"]
    async with images_of(internet, replace(LIMITS, refusal_step=1.0)) as images:
        for url in causes:
            started = time.monotonic()
            with pytest.raises(UrlRefused):
                await images.fetch(url)
            assert 0.99 < time.monotonic() - started < 1.95


async def test_the_log_tells_host_and_cause_but_no_secret(internet: Internet, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    internet.names["inner.example"] = ["10.1.2.3"]
    await refused(internet, "http://inner.example/path?signature=abcdef")
    async with images_of(internet) as images:
        with pytest.raises(UrlRefused):
            await images.fetch("http://user:hunter2@photos.example/?signature=abcdef")
    lines = [JsonFormatter().format(record) for record in caplog.records]
    told = [json.loads(line) for line in lines if json.loads(line)["action"] == "url_refused"]
    assert "10.1.2.3 is no public address" in told[0]["message"]
    assert told[0]["hosts"] == ["inner.example"]
    assert "credentials" in told[1]["message"]
    assert told[1]["hosts"] == ["photos.example"]
    for secret in ("abcdef", "hunter2", "user:"):
        assert not any(secret in line for line in lines)


async def test_a_bug_in_a_part_is_a_refusal_like_others(internet: Internet, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_: str) -> list[str]:
        raise RuntimeError("no one thought of this")

    async with UrlImages(LIMITS, resolve=broken, network=internet) as images:
        with pytest.raises(UrlRefused):
            await images.fetch("http://photos.example/")
    assert "no one thought of this" in caplog.text


async def test_only_the_hosts_of_a_list_are_asked(internet: Internet) -> None:
    internet.put(PUBLIC, internet.photos, "cdn.trusted.example", "eviltrusted.example", "trusted.example")
    limits = replace(LIMITS, hosts=("photos.example", ".trusted.example"))
    async with images_of(internet, limits) as images:
        for host in ("photos.example", "cdn.trusted.example"):
            assert await images.fetch(f"http://{host}/") == PHOTO
        for host in ("trusted.example", "eviltrusted.example", PUBLIC):
            with pytest.raises(UrlRefused):
                await images.fetch(f"http://{host}/")
    assert len(internet.connected) == 2


async def test_a_network_of_one_s_own_is_refused_though_its_addresses_are_public(internet: Internet) -> None:
    limits = replace(LIMITS, refused_networks=(IPv4Network("93.184.216.0/24"),))
    internet.names["six.example"] = ["64:ff9b::5db8:d822"]
    for url in ("http://photos.example/", "http://six.example/"):
        async with images_of(internet, limits) as images:
            with pytest.raises(UrlRefused):
                await images.fetch(url)
    assert internet.connected == []


async def test_socket_files_are_never_connected_to(internet: Internet) -> None:
    with pytest.raises(httpcore.ConnectError):
        await PinnedNetwork([], internet).connect_unix_socket("/var/run/docker.sock")
