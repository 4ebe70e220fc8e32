"""Is this process alive, and is it ready? One `Probes` for all the components of a process.

- Alive: the event loop's heart beats, and no stage has had work in flight for long without any
  progress. Waiting for a dependency is alive: a restart would not bring the dependency back.
- Ready: every registered component said so (the model made a forward pass, the index is open, the
  consumer has joined). A process that has registered nothing is not ready.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from runtime.metrics import StageMetrics


class Readiness:
    """The readiness of one component, kept by that component; it starts out not ready."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why: str | None = why

    @property
    def why(self) -> str | None:
        """Why it is not ready; None when it is."""
        return self._why

    def ready(self) -> None:
        """It can do its work now."""
        self._why = None

    def not_ready(self, why: str) -> None:
        """It cannot do its work (any more); `why` completes the sentence "not ready: ..."."""
        self._why = why


@dataclass(frozen=True)
class Report:
    """What a probe answers: `ok` decides between 200 and 503, `body` is JSON that says why."""

    ok: bool
    body: Mapping[str, Any]


class Probes:
    """Liveness and readiness of one process. Entered, it beats; times are seconds.

    `stall_seconds` is how long a stage may have work in flight without finishing a batch;
    `heartbeat_seconds` is how old the last beat of the event loop may be.
    """

    def __init__(
        self,
        *,
        stall_seconds: float = 300.0,
        heartbeat_seconds: float = 30.0,
        beat_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stall_seconds = stall_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._beat_seconds = beat_seconds
        self._clock = clock
        self._last_beat = clock()
        self._components: dict[str, Readiness] = {}
        self._stages: dict[str, _Watched] = {}
        self._beating: asyncio.Task[None] | None = None

    def component(self, name: str, *, why: str = "it is starting") -> Readiness:
        """Register something that must be ready; it is not, because of `why`, until it says so."""
        if name in self._components:
            raise ValueError(f"a component named {name} is registered already")
        component = self._components[name] = Readiness(name, why)
        return component

    def stage(self, name: str, metrics: StageMetrics) -> None:
        """Watch a stage's progress for liveness."""
        self._stages[name] = _Watched(metrics)

    async def __aenter__(self) -> Self:
        """Start the heartbeat on the running event loop."""
        self.beat()
        self._beating = asyncio.create_task(self._beat_for_ever(), name="heartbeat")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the heartbeat."""
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None

    def beat(self) -> None:
        """One heartbeat: note the time, and see which stages have work in flight."""
        self._last_beat = self._clock()
        for stage in self._stages.values():
            stage.observe(self._last_beat)

    def liveness(self) -> Report:
        """Whether the process should be left running."""
        now = self._clock()
        problems = []
        silent = now - self._last_beat
        if silent > self._heartbeat_seconds:
            problems.append(f"the event loop's last heartbeat was {silent:.0f} s ago; something blocks it")
        stages = {}
        for name, stage in self._stages.items():
            stalled = stage.stalled_seconds(now)
            if stalled > self._stall_seconds:
                problems.append(f"stage {name} has had work in flight for {stalled:.0f} s without any progress")
            stages[name] = {
                "in_flight": stage.metrics.in_flight,
                "stalled_seconds": round(stalled, 1),
                "waiting_for": sorted(stage.metrics.waiting_for),
            }
        alive = not problems
        return Report(alive, {"status": "alive" if alive else "stuck", "problems": problems, "stages": stages})

    def readiness(self) -> Report:
        """Whether the process should be given work."""
        components: dict[str, Any] = {
            name: {"ready": True} if component.why is None else {"ready": False, "why": component.why}
            for name, component in self._components.items()
        }
        problems = [f"{name} is not ready: {c['why']}" for name, c in components.items() if not c["ready"]]
        if not components:
            problems.append("no component of this process has been registered yet")
        ready = not problems
        return Report(
            ready, {"status": "ready" if ready else "not ready", "problems": problems, "components": components}
        )

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._beat_seconds)
            self.beat()


class _Watched:
    """Since when a stage has been busy, as the heartbeats saw it.

    `last_progress` alone would not do: after an idle hour it is an hour old, and the first batch that
    arrives would look stalled.
    """

    def __init__(self, metrics: StageMetrics) -> None:
        self.metrics = metrics
        self._busy_since: float | None = None

    def observe(self, now: float) -> None:
        if self.metrics.in_flight == 0:
            self._busy_since = None
        elif self._busy_since is None or self.metrics.waiting_for:
            self._busy_since = now

    def stalled_seconds(self, now: float) -> float:
        if self._busy_since is None or self.metrics.in_flight == 0 or self.metrics.waiting_for:
            return 0.0
        return max(0.0, now - max(self._busy_since, self.metrics.last_progress))
