"""Vectors of images that are named by URLs: one that cannot be had has an empty vector, and stops no other.

A URL that leads to a server which sends nothing is in hand for half a minute. So nobody may have all that is in hand
at a time, and nobody all that may wait:

- of one caller at most `SHARE` are in hand. Its requests take turns, each with as many tasks as it may have in hand,
  and so do callers: whoever comes last waits for one turn of everybody before it, not for all that they have asked.
- beyond `WAITING` URLs, or half of them of one caller, the answer is `EngineFull` at once.

A caller is whoever has a key; without keys nobody can be told from another, and each request counts for itself.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from imaging.formats import BadImage
from runtime.log import Log
from services.search.embedding import EmbeddingEngine
from services.search.load import EngineFull
from services.search.ranking.examples import ImageFetcher
from services.search.together import first_error
from services.search.urls.url_images import UrlRefused

AT_ONCE = 8
"""Images that are fetched and embedded at a time, of all requests together: what they hold in memory is bounded."""
SHARE = 4
"""So many of these are one caller's at most."""
WAITING = 2048
"""URLs of all requests that are not answered yet: two minutes' work where a fetch takes half a second."""
RETRY_AFTER_SECONDS = 5


@dataclass
class _Caller:
    """What one caller has asked for and not got yet."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SHARE))
    urls: int = 0


class UrlEmbedder:
    """Embeds images by their URLs, a few at a time, in the engine's batches with everybody else's."""

    def __init__(self, engine: EmbeddingEngine, images: ImageFetcher, *, waiting: int = WAITING) -> None:
        self._engine = engine
        self._images = images
        self._waiting = waiting
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._callers: dict[object, _Caller] = {}
        self._log = Log("sightline.search")

    async def embed(self, urls: Sequence[str], caller: str | None = None) -> list[list[float]]:
        """A unit vector for each URL, in order; `[]` for one that fails, told in one warning.

        `caller` is the name of whoever asks, where that is known. Raises `EngineFull` while too many URLs wait, and
        what the engine raises but `BadImage`: a model that is away is nobody's URL. Then no fetch goes on.
        """
        vectors: list[list[float]] = [[] for _ in urls]
        left = iter(enumerate(urls))

        async def work(own: asyncio.Semaphore) -> None:
            for number, url in left:
                # A fetch has 30 s from its call on; none is called before it has a turn.
                async with own, self._turns:
                    vectors[number] = await self._embed(url)

        with self._counted(len(urls), caller) as own, first_error():
            async with asyncio.TaskGroup() as group:
                for _ in range(min(SHARE, len(urls))):
                    group.create_task(work(own))
        failed = [number for number, vector in enumerate(vectors) if not vector]
        if failed:
            # The URLs themselves may carry keys, as presigned ones do.
            self._log.warning(
                "urls_without_embedding",
                f"{len(failed)} of {len(urls)} URLs gave no image; their embeddings are empty",
                positions=failed[:100],
            )
        return vectors

    @contextmanager
    def _counted(self, urls: int, name: str | None) -> Iterator[asyncio.Semaphore]:
        """Count URLs until they are answered. Gives the turns of whoever asked; raises `EngineFull`."""
        whose = object() if name is None else name
        caller = self._callers.get(whose) or _Caller()
        waiting = sum(one.urls for one in self._callers.values())
        # As for the model, a request is never larger than the bound: it begins where nobody else waits.
        full = waiting and waiting + urls > self._waiting
        if full or (caller.urls and caller.urls + urls > self._waiting // 2):
            whom = "" if full else " of this caller"
            raise EngineFull(f"{waiting if full else caller.urls} URLs{whom} wait to be fetched", RETRY_AFTER_SECONDS)
        self._callers[whose] = caller
        caller.urls += urls
        try:
            yield caller.turns
        finally:
            caller.urls -= urls
            if not caller.urls:
                del self._callers[whose]

    async def _embed(self, url: str) -> list[float]:
        try:
            data = await self._images.fetch(url)
            image = await self._engine.embed_image(data, key=_name(url))
        except UrlRefused:
            return []
        except BadImage as error:
            self._log.warning("url_refused", f"An image fetched by its URL cannot be used: {error.detail}")
            return []
        vector: list[float] = image.vector.tolist()
        return vector


def _name(url: str) -> str | None:
    """What a URL calls its image, for models that read names."""
    return PurePosixPath(urlsplit(url.strip()).path).name or None
