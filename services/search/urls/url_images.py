"""Images that a client names by a URL, fetched so that no URL reaches anything but the open internet.

Whoever sends a URL chooses where this process connects to. It must not become a way into the network that
the process stands in (docs/decisions/0022).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from ssl import SSLContext
from types import TracebackType
from typing import Self

import httpcore
import httpx

from imaging.formats import BadImage, sniff
from runtime.log import Log
from services.search.urls.addresses import Address, Network, is_public, literal, parse_address, reached
from services.search.urls.url_fetching import PinnedNetwork, Refusal, Target, get, parse_url

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""All addresses, IPv4 and IPv6, of a host name. Raises `OSError` where there are none."""

_FAILURES = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    OSError,
    UnicodeError,
)


class UrlRefused(Exception):
    """An image that was not fetched. Says the same of every URL, whatever the cause."""

    remedy = (
        "Check that the URL (http or https, on a public host) opens as an image for anybody, without signing in; "
        "or send the bytes of the image instead."
    )

    def __init__(self) -> None:
        super().__init__("The image at this URL could not be fetched.")


@dataclass(frozen=True, kw_only=True)
class UrlLimits:
    """How far a URL may go.

    `seconds` bound a fetch with all its redirects and its wait for a slot. With `hosts` only these are asked, and
    those under one that begins with a dot. `refused_networks` are refused besides all that are not public.
    A refusal comes at a multiple of `refusal_step` seconds, so that its time tells little of its cause.
    """

    image_bytes: int = 20 * 1024 * 1024
    seconds: float = 30.0
    concurrency: int = 16
    redirects: int = 3
    ports: frozenset[int] = frozenset((80, 443))
    hosts: tuple[str, ...] = ()
    refused_networks: tuple[Network, ...] = ()
    refusal_step: float = 0.5


class NoUrls:
    """In place of `UrlImages` where images are fetched by no URL."""

    async def fetch(self, url: str) -> bytes:
        """Raises `UrlRefused`."""
        raise UrlRefused


class UrlImages:
    """Fetches images by URL; an async context manager.

    `resolve`, `allows`, `network` and `tls` are for tests, whose servers stand for the internet's:
    nothing that can be configured reaches them.
    """

    def __init__(
        self,
        limits: UrlLimits = UrlLimits(),
        *,
        resolve: Resolve | None = None,
        allows: Callable[[Address], bool] = is_public,
        network: httpcore.AsyncNetworkBackend | None = None,
        tls: SSLContext | None = None,
    ) -> None:
        self.limits = limits
        self._resolve = resolve or self._ask_system
        self._allows = allows
        self._network = network or httpcore.AnyIOBackend()
        self._given_tls = tls
        self._slots = asyncio.Semaphore(limits.concurrency)
        # Threads of its own: a name server that does not answer must not hold up whoever else needs a thread.
        self._resolvers = ThreadPoolExecutor(limits.concurrency, "resolve")
        self._log = Log("sightline.search")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, url: str) -> bytes:
        """The bytes of the image at a URL, which begin like an image that is decoded.

        Raises `UrlRefused` for everything that stands in the way; the log has the cause.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        trail: list[str] = []
        try:
            async with asyncio.timeout(self.limits.seconds), self._slots:
                return await self._follow(url, trail)
        except Refusal as refusal:
            cause = str(refusal)
        except TimeoutError:
            cause = f"it was not there within {self.limits.seconds:g} s"
        except _FAILURES as error:
            cause = f"{type(error).__name__}: {str(error)[:200]}"
        except Exception as error:
            # Even a bug must not tell one URL from another.
            self._log.error("url_failed", f"A URL met an unforeseen {type(error).__name__}", hosts=trail)
            cause = type(error).__name__
        self._log.warning("url_refused", f"An image was not fetched by its URL: {cause}", hosts=trail)
        step = self.limits.refusal_step
        if step:
            await asyncio.sleep(step - (loop.time() - started) % step)
        raise UrlRefused

    async def _follow(self, text: str, trail: list[str]) -> bytes:
        url = parse_url(text)
        for _ in range(self.limits.redirects + 1):
            trail.append(url.raw_host.decode("ascii")[:253])
            target = Target.parse(url, self.limits.ports)
            addresses = await self._addresses(target.host)
            answer = await get(
                target,
                PinnedNetwork(addresses, self._network),
                most_bytes=self.limits.image_bytes,
                tls=self._tls if target.scheme == "https" else None,
            )
            if not isinstance(answer, httpx.URL):
                return _image(answer)
            url = answer
        raise Refusal(f"it redirects more than {self.limits.redirects} times")

    async def _addresses(self, host: str) -> Sequence[Address]:
        """The addresses of a host. Raises `Refusal` if any is not public: one good address excuses no other."""
        if self.limits.hosts and not any(_names(one, host) for one in self.limits.hosts):
            raise Refusal("its host is not in SIGHTLINE_URLS__HOSTS")
        written = literal(host)
        try:
            found = [written] if written else [parse_address(text) for text in await self._resolve(host)]
        except ValueError as error:
            raise Refusal(f"its name resolves to no address: {error}") from None
        for address in found:
            if not self._allows(address):
                raise Refusal(f"{address} is no public address")
            if any(reached(address) in network for network in self.limits.refused_networks):
                raise Refusal(f"{address} is in SIGHTLINE_URLS__REFUSED_NETWORKS")
        if not found:
            raise Refusal("its name has no address")
        return found

    async def _ask_system(self, host: str) -> Sequence[str]:
        def ask() -> list[str]:
            answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(place[0]) for *_, place in answers))

        return await asyncio.get_running_loop().run_in_executor(self._resolvers, ask)

    @cached_property
    def _tls(self) -> SSLContext:
        return self._given_tls or httpx.create_ssl_context(trust_env=False)


def _names(pattern: str, host: str) -> bool:
    return host.endswith(pattern) if pattern.startswith(".") else host == pattern


def _image(data: bytes) -> bytes:
    try:
        sniff(data)
    except BadImage as error:
        raise Refusal(f"it is no image: {error.detail[:80]}") from None
    return data
