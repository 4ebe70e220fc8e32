"""What was embedded lately, or is being embedded now, by content: the same bytes need no second forward pass."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from encoders.engine import EncodedImage


@dataclass(eq=False)
class _Flight:
    """A forward pass under way, and how many wait for it."""

    task: "asyncio.Future[EncodedImage]"
    waiting: int = 0


class VectorCache:
    """The last `entries` results by what decided them, for one encoder; the least recently used goes first.

    One entry of a 512-d encoder takes about 3 kB. Those who ask for content that is being embedded wait for that
    pass, also where no entries are kept. Errors are told to all who wait, and are not kept.
    """

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._kept: OrderedDict[str, EncodedImage] = OrderedDict()
        self._flights: dict[str, _Flight] = {}

    async def encoded(self, content: str, embed: Callable[[], Awaitable[EncodedImage]]) -> tuple[EncodedImage, bool]:
        """What `embed` makes of the content, and whether somebody else's pass was reused for it.

        The pass goes on for as long as anybody waits for it, whoever began it. Raises what `embed` raises.
        """
        kept = self._kept.get(content)
        if kept is not None:
            self._kept.move_to_end(content)
            return kept, True
        flight = self._flights.get(content)
        reused = flight is not None
        if flight is None:
            flight = self._take_off(content, embed)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task), reused
        finally:
            flight.waiting -= 1
            if flight.waiting == 0:
                # Whoever asks from now on must not join a pass that is being cancelled.
                self._forget(content, flight)
                flight.task.cancel()

    def _take_off(self, content: str, embed: Callable[[], Awaitable[EncodedImage]]) -> _Flight:
        flight = self._flights[content] = _Flight(asyncio.ensure_future(embed()))

        def landed(task: "asyncio.Future[EncodedImage]") -> None:
            self._forget(content, flight)
            if not task.cancelled() and task.exception() is None:
                self._keep(content, task.result())

        flight.task.add_done_callback(landed)
        return flight

    def _forget(self, content: str, flight: _Flight) -> None:
        if self._flights.get(content) is flight:
            del self._flights[content]

    def _keep(self, content: str, encoded: EncodedImage) -> None:
        self._kept[content] = encoded
        self._kept.move_to_end(content)
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)
