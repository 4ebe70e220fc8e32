"""The start of a process: what is away is waited for, alive and not ready, and never ends it.

A supervisor would start it again, later each time. Kubernetes waits up to five minutes between two attempts, so that
whoever ended because a broker was away would be away for minutes after the broker is back.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from runtime.log import Log
from runtime.metrics import MetricSet
from runtime.probes import Probes, Readiness
from runtime.retry import RetryPolicy
from schemas.errors import DependencyUnavailable

T = TypeVar("T")

TELL_SECONDS = 30.0
"""How often the same outage is told again."""


class Start:
    """Opens what a process is made of, and opens it again while a dependency is away.

    Meanwhile `readiness` says what is waited for and what to do, the metrics show each of `stages` waiting, and the
    process counts as started: the startup probe must not end what merely waits. `tell` is given a sentence when a wait
    begins, changes its reason, has lasted for another `TELL_SECONDS`, and ends; where there is none, the log is.
    """

    def __init__(
        self,
        stages: Sequence[str],
        *,
        probes: Probes,
        readiness: Readiness,
        metrics: MetricSet,
        log: Log,
        tell: Callable[[str], None] | None = None,
        policy: RetryPolicy = RetryPolicy(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stages = stages
        self._probes = probes
        self._readiness = readiness
        self._why = readiness.why or "it is starting"
        self._metrics = metrics
        self._log = log
        self._tell = tell
        self._policy = policy
        self._clock = clock

    async def until_there(self, opening: Callable[[], Awaitable[T]]) -> T:
        """What `opening` answers, however long its dependency is away. When it fails it must leave nothing open.

        Raises whatever it raises but `DependencyUnavailable`: a `ConfigurationError` is not waited for.
        """
        wait: _Wait | None = None
        try:
            while True:
                try:
                    there = await opening()
                    break
                except DependencyUnavailable as error:
                    # Asked to stop while a library made an outage of the cancelled call.
                    if (task := asyncio.current_task()) is not None and task.cancelling():
                        raise asyncio.CancelledError from error
                    wait = wait or _Wait(self._clock())
                    delay = self._policy.delay(wait.attempts)
                    self._waits(wait, error, delay)
                await asyncio.sleep(delay)
        finally:
            if wait is not None:
                self._show(wait.dependency, False)
                self._readiness.not_ready(self._why)
        if wait is not None:
            sentence = f"{wait.dependency} is there; the start goes on"
            if self._tell is not None:
                self._tell(sentence)
            else:
                self._log.info("dependency_answered", sentence, dependency=wait.dependency)
        return there

    def _waits(self, wait: "_Wait", error: DependencyUnavailable, delay: float) -> None:
        self._probes.started()
        self._readiness.not_ready(f"it waits for {error}")
        if wait.dependency != error.dependency:
            self._show(wait.dependency, False)
            wait.dependency = error.dependency
            self._show(wait.dependency, True)
        for stage in self._stages:
            self._metrics.retried.labels(stage, error.dependency).inc()
        wait.attempts += 1
        now = self._clock()
        if wait.told == str(error) and now - wait.told_at < TELL_SECONDS:
            return
        wait.told, wait.told_at = str(error), now
        sentence = f"waiting for {error}. It goes on by itself once that is there"
        if self._tell is not None:
            self._tell(sentence)
            return
        self._log.warning(
            "dependency_unavailable",
            sentence,
            dependency=error.dependency,
            attempt=wait.attempts,
            waited_seconds=round(now - wait.since, 1),
            retry_in_seconds=round(delay, 2),
        )

    def _show(self, dependency: str, waits: bool) -> None:
        for stage in self._stages if dependency else ():
            self._metrics.waiting.labels(stage, dependency).set(int(waits))


class _Wait:
    """One wait: since when, for what, and what was last told of it."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.attempts = 0
        self.dependency = ""
        self.told = ""
        self.told_at = 0.0
