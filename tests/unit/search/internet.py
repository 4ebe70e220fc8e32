"""A small internet: public sites that are local servers, and behind every other address the sink, an inner service.

The sink would answer with a photo, so what reaches it succeeds, and the test that awaits a refusal fails.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from ipaddress import ip_address

import httpcore
import pytest
from PIL import Image

from services.search.urls.addresses import is_public
from services.search.urls.url_images import UrlImages, UrlLimits, UrlRefused

Serve = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]


def photo() -> bytes:
    target = BytesIO()
    Image.linear_gradient("L").save(target, "JPEG")
    return target.getvalue()


PHOTO = photo()
PUBLIC = "93.184.216.34"
OTHER = "151.101.1.69"
LIMITS = UrlLimits(refusal_step=0, seconds=5)


def answer(body: bytes = PHOTO, status: str = "200 OK", kind: str | None = "image/jpeg", **headers: str) -> bytes:
    """The bytes of an answer; `Content_Encoding="gzip"` is a header."""
    fields = {"Content-Length": str(len(body)), "Content-Type": kind}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    headers: dict[str, str]


@dataclass
class Site:
    """A server on this machine. Counts connections, keeps requests, answers with `serve`."""

    serve: Serve
    port: int = 0
    connections: int = 0
    asked: list[Asked] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            fields = (line.partition(":") for line in lines)
            asked = Asked(first.split(" ")[1], {name.lower(): value.strip() for name, _, value in fields})
            self.asked.append(asked)
            await self.serve(asked, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the other side has gone
        finally:
            writer.close()

    async def untouched(self) -> bool:
        """Whether nobody ever connected: connections are accepted in order, so one of our own is the first."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /control HTTP/1.1\r\n\r\n")
        await reader.read()
        writer.close()
        return self.connections == 1


@asynccontextmanager
async def site(serve: Serve | bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """A site that answers each request by a function, or with the same bytes."""

    async def same(_: Asked, writer: asyncio.StreamWriter) -> None:
        assert isinstance(serve, bytes)
        writer.write(serve)
        await writer.drain()

    made = Site(same if isinstance(serve, bytes) else serve)
    if tls is not None:
        tls.sni_callback = lambda _, name, __: made.server_names.append(name)
    server = await asyncio.start_server(made.take, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


class Internet(httpcore.AsyncNetworkBackend):
    """Names, and roads from public addresses to the sites that stand for them. All other roads end at the sink."""

    def __init__(self, sink: Site, photos: Site) -> None:
        self.sink = sink
        self.photos = photos
        self.names: dict[str, list[str]] = {}
        self.roads: dict[tuple[str, int], Site | int] = {}
        self.resolved: list[str] = []
        self.connected: list[tuple[str, int]] = []
        self._network = httpcore.AnyIOBackend()
        self.put(PUBLIC, photos, "photos.example")

    def put(self, address: str, place: Site | int, *names: str, port: int = 80) -> None:
        """Let a site, or a local port, be at an address, and names resolve to it."""
        self.roads[address, port] = place
        for name in names:
            self.names[name] = [address]

    async def resolve(self, host: str) -> list[str]:
        self.resolved.append(host)
        if host not in self.names:
            raise OSError(f"no such name: {host}")
        return self.names[host]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connected.append((host, port))
        place = self.roads.get((host, port), self.sink)
        local = place if isinstance(place, int) else place.port
        return await self._network.connect_tcp("127.0.0.1", local, timeout=timeout)

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a fetch tries nothing twice")


@asynccontextmanager
async def small_internet() -> AsyncIterator[Internet]:
    """An internet with photos.example, at PUBLIC, which serves a photo at every path."""
    async with site(answer()) as sink, site(answer()) as photos:
        yield Internet(sink, photos)


def images_of(internet: Internet, limits: UrlLimits = LIMITS) -> UrlImages:
    return UrlImages(limits, resolve=internet.resolve, network=internet)


async def refused(internet: Internet, url: str, limits: UrlLimits = LIMITS) -> None:
    """That a URL is refused in the words of all refusals, and that nothing came to the sink."""
    async with images_of(internet, limits) as images:
        with pytest.raises(UrlRefused) as caught:
            await images.fetch(url)
    assert str(caught.value) == "The image at this URL could not be fetched."
    assert all(is_public(ip_address(address)) for address, _ in internet.connected)
    assert await internet.sink.untouched()
