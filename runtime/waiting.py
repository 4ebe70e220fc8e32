"""The time between two batches of a consumer, told as it passes."""

import asyncio
import time
from collections.abc import Callable

PIECE_SECONDS = 5.0
"""An hour without work must not show as an hour within the second in which the next batch comes."""


class Waiting:
    """Tells `spent` how many seconds one consumer waited for a batch, in pieces of at most `PIECE_SECONDS`."""

    def __init__(self, spent: Callable[[float], None]) -> None:
        self._spent = spent
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """From now on the consumer waits, if it does not yet. Needs a running event loop."""
        if self._since is None:
            self._since = time.perf_counter()
            self._timer = asyncio.get_running_loop().call_later(PIECE_SECONDS, self._piece)

    def end(self) -> None:
        """A batch came, or the consumer stops."""
        if self._since is not None:
            self._spent(time.perf_counter() - self._since)
            self._since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _piece(self) -> None:
        self.end()
        self.begin()
