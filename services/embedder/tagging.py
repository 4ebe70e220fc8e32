"""The tagger of a running embedder, built while the first images are on their way."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from encoders.tagger import Tagger, TagsImpossible
from runtime.log import Log


class Tagging:
    """Builds the tagger once, in the background: no start waits for the prompts' vectors, and no image goes without.

    An async context manager, inside that of the engine.
    """

    def __init__(self, build: Callable[[], Awaitable[Tagger]], log: Log) -> None:
        self._build = build
        self._log = log
        self._building = asyncio.Lock()
        self._decided = False
        self._tagger: Tagger | None = None
        self._early: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to build."""
        self._early = asyncio.create_task(self._begin())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop building."""
        if self._early is not None:
            self._early.cancel()
            await asyncio.wait([self._early])

    async def tagger(self) -> Tagger | None:
        """The tagger, once it is built; None, said once in the log, where the model's words name no pictures.

        Raises whatever else the engine raises, and builds again when asked again.
        """
        async with self._building:
            if not self._decided:
                try:
                    self._tagger = await self._build()
                except TagsImpossible as error:
                    self._log.warning("tags_off", f"images get no tags: {error}")
                else:
                    tagger = self._tagger
                    tags = len(tagger.vocabulary)
                    self._log.info("tags_ready", f"images get tags, out of {tags}", version=tagger.version)
                self._decided = True
            return self._tagger

    async def _begin(self) -> None:
        # Whoever needs the tagger asks again, and gets the error.
        with suppress(Exception):
            await self.tagger()
