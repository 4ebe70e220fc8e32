"""Is this process started, alive, ready? One `Probes` for all the components of a process.

- Started: what it is made of was loaded and wired, the model above all, or nothing keeps it from that but a dependency
  that is away: whoever ends what has not started in time would start it again to no end.
- Alive: the event loop's heart beats, and no batch, image or forward pass has been in hand for long without any
  progress. Each is looked at by itself: one that is stuck does not hide behind others that move. Waiting for a
  dependency is alive: a restart would not bring the dependency back.
- Ready: every registered component said so (the model made a forward pass, the index is open, the
  consumer has joined its group). A process that has registered nothing is not ready.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from runtime.metric import Metric, MetricKind
from runtime.metrics import StageMetrics

EVENT_LOOP_LAG = Metric(
    name="sightline_event_loop_lag_seconds",
    kind=MetricKind.HISTOGRAM,
    sentence="How much later than due the event loop woke, four times a second. Above a second, heartbeats to Kafka "
    "are in danger and all answers are late: something computes on the loop, or the processor is starved.",
)

Work = Callable[[], Mapping[Hashable, int | None]]
"""What is in hand now: each piece with a number that changes as long as it moves; None for one that merely waits for a
dependency."""


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

    `stall_seconds` is how long a piece of work may be in hand without moving;
    `heartbeat_seconds` is how old the last beat of the event loop may be. `loop_lag` is told how late each beat was.
    """

    def __init__(
        self,
        *,
        stall_seconds: float = 300.0,
        heartbeat_seconds: float = 30.0,
        beat_seconds: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
        loop_lag: Callable[[float], object] | None = None,
    ) -> None:
        self._stall_seconds = stall_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._beat_seconds = beat_seconds
        self._clock = clock
        self._loop_lag = loop_lag
        self._last_beat = clock()
        self._components: dict[str, Readiness] = {}
        self._conditions: dict[str, Callable[[], str | None]] = {}
        self._stages: dict[str, StageMetrics] = {}
        self._watched: dict[str, _Watched] = {}
        self._started = False
        self._beating: asyncio.Task[None] | None = None

    def component(self, name: str, *, why: str = "it is starting") -> Readiness:
        """Register something that must be ready; it is not, because of `why`, until it says so."""
        self._check_new(name)
        component = self._components[name] = Readiness(name, why)
        return component

    def condition(self, name: str, why: Callable[[], str | None]) -> None:
        """Register something that is ready whenever `why`, asked anew for each probe, answers None."""
        self._check_new(name)
        self._conditions[name] = why

    def stage(self, name: str, metrics: StageMetrics) -> None:
        """Watch each batch that a stage has in hand."""
        self._stages[name] = metrics
        self._watched[f"stage {name}"] = _Watched(metrics.work)

    def work(self, name: str, work: Work) -> None:
        """Watch each piece of other work, such as what the threads of the model do."""
        self._watched[name] = _Watched(work)

    def allow(self, seconds: float) -> bool:
        """Let work stand still for at least so many seconds; answers whether that is more than it was."""
        more = seconds > self._stall_seconds
        self._stall_seconds = max(seconds, self._stall_seconds)
        return more

    def started(self) -> None:
        """Everything is loaded and wired; said once."""
        self._started = True

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
        """One heartbeat: note the time, and see what is in hand."""
        self._last_beat = self._clock()
        for watched in self._watched.values():
            watched.observe(self._last_beat)

    def startup(self) -> Report:
        """Whether the process has started; once it has, for ever."""
        problems = [] if self._started else [f"it is starting: {problem}" for problem in self._unready()]
        status = "started" if self._started else "starting"
        return Report(self._started, {"status": status, "problems": problems})

    def liveness(self) -> Report:
        """Whether the process should be left running."""
        now = self._clock()
        problems = []
        silent = now - self._last_beat
        if silent > self._heartbeat_seconds:
            problems.append(f"the event loop's last heartbeat was {silent:.0f} s ago; something blocks it")
        stalled = {name: watched.stalled_seconds(now) for name, watched in self._watched.items()}
        problems += [
            f"{name} has had work in flight for {seconds:.0f} s without any progress"
            for name, seconds in stalled.items()
            if seconds > self._stall_seconds
        ]
        stages = {
            name: {
                "in_flight": metrics.in_flight,
                "stalled_seconds": round(stalled[f"stage {name}"], 1),
                "waiting_for": sorted(metrics.waiting_for),
            }
            for name, metrics in self._stages.items()
        }
        alive = not problems
        return Report(alive, {"status": "alive" if alive else "stuck", "problems": problems, "stages": stages})

    def readiness(self) -> Report:
        """Whether the process should be given work."""
        whys = {name: component.why for name, component in self._components.items()}
        whys |= {name: why() for name, why in self._conditions.items()}
        components: dict[str, Any] = {
            name: {"ready": True} if why is None else {"ready": False, "why": why} for name, why in whys.items()
        }
        problems = [f"{name} is not ready: {why}" for name, why in whys.items() if why is not None]
        if not components:
            problems.append("no component of this process has been registered yet")
        ready = not problems
        return Report(
            ready, {"status": "ready" if ready else "not ready", "problems": problems, "components": components}
        )

    def _unready(self) -> list[str]:
        return [str(problem) for problem in self.readiness().body["problems"]] or ["not everything is wired yet"]

    def _check_new(self, name: str) -> None:
        if name in self._components or name in self._conditions:
            raise ValueError(f"a component named {name} is registered already")

    async def _beat_for_ever(self) -> None:
        while True:
            due = time.perf_counter() + self._beat_seconds
            await asyncio.sleep(self._beat_seconds)
            if self._loop_lag is not None:
                self._loop_lag(max(0.0, time.perf_counter() - due))
            self.beat()


class _Watched:
    """Since when each piece of work stands still, as the heartbeats saw it."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._still: dict[Hashable, tuple[int | None, float]] = {}

    def observe(self, now: float) -> None:
        seen = self._still
        self._still = {}
        for piece, moves in self._work().items():
            before = seen.get(piece)
            moved = before is None or moves is None or before[0] != moves
            self._still[piece] = (moves, now) if moved or before is None else before

    def stalled_seconds(self, now: float) -> float:
        """Of the piece that stands still longest; what moved or was finished since the last beat does not count."""
        current = self._work()
        return max(
            (
                now - since
                for piece, (moves, since) in self._still.items()
                if piece in current and current[piece] is not None and current[piece] == moves
            ),
            default=0.0,
        )
