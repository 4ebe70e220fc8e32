"""How much one caller may ask: token buckets, and requests at a time."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST_CALLERS = 10_000


@dataclass(frozen=True)
class Allowance:
    """What one caller may do; 0 stands for no limit. `burst` requests may come at once after a rest."""

    per_second: float = 0.0
    burst: int = 1
    at_a_time: int = 0


UNLIMITED = Allowance()


class Buckets:
    """A token bucket for each caller. Of more than `most` callers, who has not asked for longest is forgotten."""

    def __init__(self, *, most: int = MOST_CALLERS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens left, and when that was."""

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, caller: str, allowance: Allowance) -> float:
        """0 where a request is allowed, else the seconds until one is."""
        if allowance.per_second <= 0:
            return 0.0
        now = self._clock()
        full = float(max(1, allowance.burst))
        tokens, since = self._buckets.pop(caller, (full, now))
        tokens = min(full, tokens + (now - since) * allowance.per_second)
        allowed = tokens >= 1.0
        self._buckets[caller] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / allowance.per_second


class InHand:
    """How many requests of each caller are under way; who has none takes no memory."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def enter(self, caller: str, allowance: Allowance) -> bool:
        """Whether one more may begin; if so, it is counted until `leave`."""
        count = self._counts.get(caller, 0)
        if 0 < allowance.at_a_time <= count:
            return False
        self._counts[caller] = count + 1
        return True

    def leave(self, caller: str) -> None:
        """One that was counted has ended."""
        left = self._counts[caller] - 1
        if left:
            self._counts[caller] = left
        else:
            del self._counts[caller]
