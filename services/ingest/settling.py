"""When to hint what keeps changing: at once, now and then meanwhile, and once more after it has come to rest.

Pure bookkeeping: times are seconds of any clock that never goes back, given by the caller.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class _Change:
    changed: float
    hinted: float
    wake: float


class Settling:
    """Names that changed lately. `quiet` seconds after the last change of a name its final hint is due.

    While a name keeps changing it is hinted every `spacing` seconds, so that what is written slowly
    is found soon after it is complete, and is not read for every block that is written.
    At most `most` names are kept; `changed` of one more says so by `crowded`.
    """

    def __init__(self, *, quiet: float, spacing: float, most: int = 100_000) -> None:
        self._quiet = quiet
        self._spacing = spacing
        self._most = most
        self._changes: dict[str, _Change] = {}
        self._wakes: list[tuple[float, str]] = []
        self.crowded = False
        """A name was not kept, so that its final hint is lost; whoever makes up for it sets this to False."""

    def __len__(self) -> int:
        return len(self._changes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._changes)

    def __contains__(self, name: object) -> bool:
        return name in self._changes

    @property
    def next_at(self) -> float | None:
        """When `due` has something to say next; it may then turn out to be nothing."""
        return self._wakes[0][0] if self._wakes else None

    def changed(self, name: str, now: float) -> bool:
        """Note a change. True: hint it now."""
        change = self._changes.get(name)
        if change is None:
            if len(self._changes) >= self._most:
                self.crowded = True
            else:
                self._wake(name, _Change(now, now, now + self._quiet))
            return True
        if now - change.hinted >= self._spacing:
            self._wake(name, _Change(now, now, now + self._quiet))
            return True
        self._wake(name, _Change(now, change.hinted, change.hinted + self._spacing))
        return False

    def forget(self, name: str) -> None:
        """No more hints for this name, until it changes again."""
        self._changes.pop(name, None)

    def due(self, now: float) -> dict[str, bool]:
        """Names to be hinted now; True where it is the final hint."""
        names: dict[str, bool] = {}
        while self._wakes and self._wakes[0][0] <= now:
            wake, name = heapq.heappop(self._wakes)
            change = self._changes.get(name)
            if change is None or change.wake != wake:
                continue
            final = now >= change.changed + self._quiet
            names[name] = final
            if final:
                del self._changes[name]
            else:
                self._wake(name, _Change(change.changed, now, change.changed + self._quiet))
        return names

    def _wake(self, name: str, change: _Change) -> None:
        known = self._changes.get(name)
        self._changes[name] = change
        if known is None or known.wake != change.wake:
            heapq.heappush(self._wakes, (change.wake, name))
