"""Waiting for dependencies: back off, say so, go on."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from runtime.log import Log
from runtime.metrics import StageMetrics
from schemas.errors import DependencyUnavailable

T = TypeVar("T")


NOTICE_SECONDS = 0.25
"""A batch that is taken away during a wait is let go after at most this."""


class BatchAbandoned(Exception):
    """The batch was taken away while it waited; it will be delivered to its new owner."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Exponential back-off in seconds with jitter; waits for ever, since an outage is no fault of the data."""

    first: float = 0.2
    factor: float = 2.0
    most: float = 15.0
    jitter: float = 0.2

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the given failed attempt, the first being 0."""
        plain = min(self.most, self.first * self.factor ** min(attempt, 32))
        return float(plain * random.uniform(1 - self.jitter, 1 + self.jitter))


class Retry:
    """Calls a function again while a dependency is away, and tells metrics and log."""

    def __init__(self, policy: RetryPolicy, *, stage: str, metrics: StageMetrics, log: Log) -> None:
        self._policy = policy
        self._stage = stage
        self._metrics = metrics
        self._log = log

    async def call(self, work: Callable[[], Awaitable[T]], *, until: Callable[[], bool] = lambda: False) -> T:
        """The result of `work`, however long its dependency is away.

        Raises `BatchAbandoned` once `until` says so between two attempts, and whatever else `work` raises.
        """
        attempt = 0
        waiting_on: str | None = None
        try:
            while True:
                try:
                    return await work()
                except DependencyUnavailable as error:
                    delay = self._policy.delay(attempt)
                    attempt += 1
                    if waiting_on != error.dependency:
                        if waiting_on is not None:
                            self._metrics.waiting(waiting_on, False)
                        waiting_on = error.dependency
                        self._metrics.waiting(waiting_on, True)
                    self._metrics.retried(error.dependency)
                    self._log.warning(
                        "dependency_unavailable",
                        str(error),
                        stage=self._stage,
                        dependency=error.dependency,
                        attempt=attempt,
                        retry_in_seconds=round(delay, 2),
                    )
                await self._pause(delay, until)
        finally:
            if waiting_on is not None:
                self._metrics.waiting(waiting_on, False)
                self._log.info("dependency_answered", f"{waiting_on} answered or was given up", stage=self._stage)

    async def _pause(self, seconds: float, until: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            if until():
                raise BatchAbandoned
            left = end - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(min(left, NOTICE_SECONDS))
