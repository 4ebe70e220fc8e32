"""One GET to one checked place: what a URL names, and a connection that can reach nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ssl import SSLContext

import httpcore
import httpx

from runtime.release import RELEASE
from services.search.urls.addresses import Address, check_name, literal

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 10.0
ADDRESSES_TRIED = 4
LONGEST_URL = 8192

_DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_OPAQUE_TYPES = ("application/octet-stream", "binary/octet-stream")
"""What object stores call bytes of which nobody told them the type."""


class Refusal(Exception):
    """Why a URL is not fetched: for the log, never for the client."""


@dataclass(frozen=True)
class Target:
    """A URL taken apart once. Every later step is made of these parts, so that no two readings can differ."""

    scheme: str
    host: str
    port: int
    path: bytes
    """With the query; what stands in the request's first line."""
    url: httpx.URL

    @classmethod
    def parse(cls, url: httpx.URL, ports: Iterable[int]) -> "Target":
        """The parts of a URL. Raises `Refusal` for all but plain http and https to a port of `ports`."""
        port_of_scheme = _DEFAULT_PORTS.get(url.scheme)
        if port_of_scheme is None:
            raise Refusal(f"the scheme is {url.scheme[:20]!r}")
        if url.userinfo:
            raise Refusal("it has credentials")
        # One dot at the end is a full name in DNS, and another name to certificates and to lists of hosts.
        host = url.raw_host.decode("ascii").lower().removesuffix(".")
        port = port_of_scheme if url.port is None else url.port
        if port not in ports:
            raise Refusal(f"its port is {port}")
        try:
            if literal(host) is None:
                check_name(host)
        except ValueError as error:
            raise Refusal(str(error)) from None
        return cls(url.scheme, host, port, url.raw_path, url.copy_with(fragment=None))

    @property
    def authority(self) -> str:
        """The `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(text: str) -> httpx.URL:
    """A URL as a client sends it. Raises `Refusal`."""
    if len(text) > LONGEST_URL:
        raise Refusal(f"it has {len(text)} characters")
    try:
        return httpx.URL(text.strip())
    except (httpx.InvalidURL, ValueError) as error:
        raise Refusal(f"it cannot be read ({type(error).__name__})") from None


class PinnedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to the given addresses, in order, whatever host is asked for: no name is resolved twice."""

    def __init__(self, addresses: Sequence[Address], network: httpcore.AsyncNetworkBackend) -> None:
        self._addresses = addresses
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address that answers."""
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._addresses[:ADDRESSES_TRIED]:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: a socket file is no place on the internet."""
        raise httpcore.ConnectError("socket files are not connected to")

    async def sleep(self, seconds: float) -> None:
        """As the network below."""
        await self._network.sleep(seconds)


async def get(
    target: Target,
    network: PinnedNetwork,
    *,
    most_bytes: int,
    tls: SSLContext | None,
) -> bytes | httpx.URL:
    """The body at a target, or the URL that it redirects to.

    One connection, used once. No cookie, no credential, no proxy and no decompression has a part in it.
    Raises `Refusal`, and the exceptions of httpcore.
    """
    origin = httpcore.Origin(target.scheme.encode(), target.host.encode(), target.port)
    request = httpcore.Request(
        "GET",
        httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=target.path),
        headers=[
            ("Host", target.authority),
            ("Accept", "image/*"),
            ("Accept-Encoding", "identity"),
            ("User-Agent", f"sightline/{RELEASE}"),
            ("Connection", "close"),
        ],
        extensions={"timeout": {"connect": CONNECT_SECONDS, "read": SILENCE_SECONDS, "write": SILENCE_SECONDS}},
    )
    connection = httpcore.AsyncHTTPConnection(origin, ssl_context=tls, network_backend=network)
    async with connection:
        response = await connection.handle_async_request(request)
        headers = httpx.Headers(response.headers)
        if response.status in _REDIRECTS:
            return _redirect(target, headers)
        if response.status != httpx.codes.OK:
            raise Refusal(f"it answered with the status {response.status}")
        _check_headers(headers, most_bytes)
        body = bytearray()
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > most_bytes:
                raise Refusal(f"its body exceeds {most_bytes} bytes")
        return bytes(body)


def _redirect(target: Target, headers: httpx.Headers) -> httpx.URL:
    try:
        url = target.url.join(headers["location"])
    except (KeyError, httpx.InvalidURL, ValueError) as error:
        raise Refusal(f"its redirect cannot be read ({type(error).__name__})") from None
    if target.scheme == "https" and url.scheme != "https":
        raise Refusal("it redirects from https to less")
    return url


def _check_headers(headers: httpx.Headers, most_bytes: int) -> None:
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise Refusal(f"its body is packed as {coding[:20]!r}")
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes:
        raise Refusal(f"it announces {length[:20]} bytes")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and not kind.startswith("image/") and kind not in _OPAQUE_TYPES:
        raise Refusal(f"it is of the type {kind[:40]!r}")
