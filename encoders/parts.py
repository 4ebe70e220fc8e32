"""A batch in as many parts as fit on the device, whose size is found out by trying."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from encoders.encoder import OutOfMemory, Prepared, SomeFailed, Vectors

BATCHES_UNTIL_GROWTH = 32
"""Batches that fit after one that did not, before a larger one is tried again."""

Payload = TypeVar("Payload", Prepared, str)


class Parts:
    """Halves a part that does not fit, remembers the size that does, and raises it again later. For one thread."""

    def __init__(self, most: int) -> None:
        self.limit = most
        """The size in use: `most`, or less while the device has no room for more."""
        self._most = most
        self._fitting = 0

    def encode(self, items: Sequence[Payload], encode: Callable[[Sequence[Payload]], Vectors], device: str) -> Vectors:
        """All items through `encode`, in order. Raises `SomeFailed` with all rows, `OutOfMemory` if one is too many."""
        parts: list[Vectors] = []
        failures: dict[int, Exception] = {}
        done = 0
        while done < len(items):
            part = items[done : done + self.limit]
            try:
                parts.append(encode(part))
            except SomeFailed as some:
                parts.append(some.vectors)
                failures |= {done + at: failure for at, failure in some.failures.items()}
            except OutOfMemory as error:
                if len(part) == 1:
                    raise OutOfMemory(f"not even one fits on {device}: {error}") from error
                self.limit, self._fitting = len(part) // 2, 0
                continue
            done += len(part)
            self._grow(len(part))
        vectors = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if failures:
            raise SomeFailed(vectors, failures)
        return vectors

    def _grow(self, fitted: int) -> None:
        if self.limit == self._most or fitted < self.limit:
            return
        self._fitting += 1
        if self._fitting >= BATCHES_UNTIL_GROWTH:
            self.limit, self._fitting = min(self._most, 2 * self.limit), 0
