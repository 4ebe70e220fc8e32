"""Vectors of images that are named by URLs: one that cannot be had has an empty vector, and stops no other."""

import asyncio
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from imaging.formats import BadImage
from runtime.log import Log
from services.search.embedding import EmbeddingEngine
from services.search.ranking.examples import ImageFetcher
from services.search.urls.url_images import UrlRefused

AT_ONCE = 8
"""Images that are fetched and embedded at a time, of all requests together: what they hold in memory is bounded."""


class UrlEmbedder:
    """Embeds images by their URLs, a few at a time, in the engine's batches with everybody else's."""

    def __init__(self, engine: EmbeddingEngine, images: ImageFetcher) -> None:
        self._engine = engine
        self._images = images
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._log = Log("sightline.search")

    async def embed(self, urls: Sequence[str]) -> list[list[float]]:
        """A unit vector for each URL, in order; `[]` for one that fails, told in one warning.

        Raises what the engine raises but `BadImage`: a model that is away is nobody's URL.
        """
        embedding = [asyncio.create_task(self._embed(url)) for url in urls]
        try:
            vectors = await asyncio.gather(*embedding)
        finally:
            for task in embedding:
                task.cancel()
        failed = [number for number, vector in enumerate(vectors) if not vector]
        if failed:
            # The URLs themselves may carry keys, as presigned ones do.
            self._log.warning(
                "urls_without_embedding",
                f"{len(failed)} of {len(urls)} URLs gave no image; their embeddings are empty",
                positions=failed[:100],
            )
        return vectors

    async def _embed(self, url: str) -> list[float]:
        # A fetch has 30 s from its call on; none is called before it has a turn.
        async with self._turns:
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
