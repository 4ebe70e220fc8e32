"""The bytes that come from the stores while looks are under way: an object of 256 MiB may take an hour, and lives."""

from collections.abc import Iterator
from contextlib import contextmanager


class Flow:
    """The bytes of one look. The store's thread adds, and whoever asks whether the look moves reads."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, count: int) -> None:
        """So many more bytes came."""
        self._bytes += count

    def moves(self) -> int:
        """A number that grows as long as bytes come."""
        return self._bytes


class Flows:
    """The flows of all looks that are under way."""

    def __init__(self) -> None:
        self._open: set[Flow] = set()
        self._ended = 0

    @contextmanager
    def one(self) -> Iterator[Flow]:
        """The flow of one look, for as long as it takes."""
        flow = Flow()
        self._open.add(flow)
        try:
            yield flow
        finally:
            self._open.remove(flow)
            self._ended += flow.moves()

    def moves(self) -> int:
        """A number that grows as long as bytes come to any of them."""
        return self._ended + sum(flow.moves() for flow in self._open)
