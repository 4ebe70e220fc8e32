"""When a backlog is worked off: by the rates of the last minutes, now and with one more embedder."""

import math
from collections import deque

from runtime.metric import Metric, MetricKind

WINDOW_SECONDS = 180.0
"""Rates are over so long: the choice between two embedders and three should not hang on one large batch."""
LEAST_SECONDS = 5.0

NOW = "now"
ONE_MORE = "one_more"

CLEARS = Metric(
    name="sightline_backlog_clears_seconds",
    kind=MetricKind.GAUGE,
    labels=("embedders",),
    sentence="Seconds until this process's share of `image-events` is worked off at the rates of the last 3 minutes, "
    "with the embedders of now, and with one more (on Kafka; it is assumed to be as fast as these). Infinite "
    "where the backlog grows: then add embedders until it does not.",
)


class Backlog:
    """Watches how many records came and how many were done, as two numbers that only grow. Times are in seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int, int]] = deque()

    def look(self, at: float, *, came: int, done: int) -> None:
        """Note the numbers at a time."""
        self._looks.append((at, came, done))
        while len(self._looks) > 2 and self._looks[1][0] <= at - WINDOW_SECONDS:
            self._looks.popleft()

    def forget(self) -> None:
        """What is counted became something else, as after a rebalance: begin anew."""
        self._looks.clear()

    def clears(self, *, faster: float = 1.0) -> float:
        """Seconds until nothing is left, were the work `faster` times as fast.

        Infinite where as much arrives as is done; NaN while the looks span too little time for a rate.
        """
        if not self._looks:
            return math.nan
        (began, came_then, done_then), (at, came, done) = self._looks[0], self._looks[-1]
        if at - began < LEAST_SECONDS:
            return math.nan
        if came <= done:
            return 0.0
        net = ((done - done_then) * faster - (came - came_then)) / (at - began)
        return (came - done) / net if net > 0 else math.inf
