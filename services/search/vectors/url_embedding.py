"""Vectors of images that are named by URLs: one that cannot be had has an empty vector, and stops no other."""

import asyncio
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from imaging.formats import BadImage
from runtime.log import Log
from services.search.embedding import EmbeddingEngine
from services.search.together import first_error
from services.search.urls.linked_images import SHARE, LinkedImages, Turns
from services.search.urls.url_images import UrlRefused


class UrlEmbedder:
    """Embeds images by their URLs, a few at a time, in the engine's batches with everybody else's."""

    def __init__(self, engine: EmbeddingEngine, images: LinkedImages) -> None:
        self._engine = engine
        self._images = images
        self._log = Log("sightline.search")

    async def embed(self, urls: Sequence[str], caller: str | None = None) -> list[list[float]]:
        """A unit vector for each URL, in order; `[]` for one that fails, told in one warning.

        `caller` is the name of whoever asks, where that is known. Raises `EngineFull` while too many URLs wait, and
        what the engine raises but `BadImage`: a model that is away is nobody's URL. Then no fetch goes on.
        """
        vectors: list[list[float]] = [[] for _ in urls]
        left = iter(enumerate(urls))

        async def work(turns: Turns) -> None:
            for number, url in left:
                vectors[number] = await self._embed(url, turns)

        with self._images.asked(len(urls), caller) as turns, first_error():
            async with asyncio.TaskGroup() as group:
                for _ in range(min(SHARE, len(urls))):
                    group.create_task(work(turns))
        failed = [number for number, vector in enumerate(vectors) if not vector]
        if failed:
            # The URLs themselves may carry keys, as presigned ones do.
            self._log.warning(
                "urls_without_embedding",
                f"{len(failed)} of {len(urls)} URLs gave no image; their embeddings are empty",
                positions=failed[:100],
            )
        return vectors

    async def _embed(self, url: str, turns: Turns) -> list[float]:
        try:
            async with turns.fetched(url) as data:
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
