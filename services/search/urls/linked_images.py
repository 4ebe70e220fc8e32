"""Images that requests name by URLs, fetched so that no caller holds up another.

A URL that leads to a server which sends nothing is in hand for half a minute. So nobody may have all that is in hand
at a time, and nobody all that may wait:

- of one caller at most `SHARE` are in hand. Its requests take turns, each with as many tasks as it may have in hand,
  and so do callers: whoever comes last waits for one turn of everybody before it, not for all that they have asked.
- beyond `WAITING` URLs, or half of them of one caller, the answer is `EngineFull` at once.

A caller is whoever has a key; without keys nobody can be told from another, and each request counts for itself.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from services.search.load import EngineFull

AT_ONCE = 8
"""Images that are fetched and embedded at a time, of all requests together: what they hold in memory is bounded."""
SHARE = 4
"""So many of these are one caller's at most."""
WAITING = 2048
"""URLs of all requests that are not answered yet: two minutes' work where a fetch takes half a second."""
RETRY_AFTER_SECONDS = 5


class ImageFetcher(Protocol):
    """Brings an image that a client named by its URL; `services.search.urls.url_images.UrlImages` is one."""

    async def fetch(self, url: str) -> bytes:
        """The bytes behind a URL. Raises `UrlRefused`."""
        ...


@dataclass
class _Caller:
    """What one caller has asked for and not got yet."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SHARE))
    urls: int = 0


class Turns:
    """The turns of one request, which has no more than a share of them in line at a time."""

    def __init__(self, images: ImageFetcher, own: asyncio.Semaphore, every: asyncio.Semaphore) -> None:
        self._images = images
        self._mine = asyncio.Semaphore(SHARE)
        self._own = own
        self._every = every

    @asynccontextmanager
    async def fetched(self, url: str) -> AsyncIterator[bytes]:
        """The bytes behind a URL, once it is its turn; that lasts until they are done with. Raises `UrlRefused`."""
        # A fetch has 30 s from its call on; none is called before it has a turn.
        async with self._mine, self._own, self._every:
            yield await self._images.fetch(url)


class LinkedImages:
    """What fetches images for all requests of a service, a few at a time."""

    def __init__(self, images: ImageFetcher, *, waiting: int = WAITING) -> None:
        self._images = images
        self._waiting = waiting
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._callers: dict[object, _Caller] = {}

    @contextmanager
    def asked(self, urls: int, caller: str | None) -> Iterator[Turns]:
        """Count URLs until they are answered. `caller` is the name of whoever asks, where that is known.

        Raises `EngineFull` while too many wait.
        """
        whose = object() if caller is None else caller
        known = self._callers.get(whose) or _Caller()
        waiting = sum(one.urls for one in self._callers.values())
        # As for the model, a request is never larger than the bound: it begins where nobody else waits.
        full = waiting and waiting + urls > self._waiting
        if full or (known.urls and known.urls + urls > self._waiting // 2):
            whom = "" if full else " of this caller"
            raise EngineFull(f"{waiting if full else known.urls} URLs{whom} wait to be fetched", RETRY_AFTER_SECONDS)
        self._callers[whose] = known
        known.urls += urls
        try:
            yield Turns(self._images, known.turns, self._turns)
        finally:
            known.urls -= urls
            if not known.urls:
                del self._callers[whose]
