"""Room for decoded pixels: memory is bounded by pixels, not by a number of images that may be of any size."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class PixelRoom:
    """At most `pixels` pixels at once, for threads. An image larger than that goes in alone. First come, first in."""

    def __init__(self, pixels: int) -> None:
        self._free = self._all = pixels
        self._changed = threading.Condition()
        self._line: deque[object] = deque()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait for room and hold it."""
        needed = min(pixels, self._all)
        place = object()
        with self._changed:
            self._line.append(place)
            # In line, lest a stream of small images keeps a large one out for ever.
            self._changed.wait_for(lambda: self._line[0] is place and self._free >= needed)
            self._line.popleft()
            self._free -= needed
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += needed
                self._changed.notify_all()
