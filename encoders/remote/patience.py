"""Asking again while a service is away: in hand for a moment, then by telling whoever can pause for longer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from encoders.remote.clock import Clock
from encoders.remote.failures import Refused, Unanswered
from encoders.remote.gate import Gate, pause
from schemas.errors import DependencyUnavailable

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Turn:
    """The time that several questions have together, in monotonic seconds."""

    began: float
    ends: float


class Patience:
    """Everybody who asks one service. Safe to use from several threads."""

    def __init__(self, service: str, clock: Clock) -> None:
        self._service = service
        self._clock = clock
        self._gate = Gate(clock)
        self._trouble, self._trouble_at = "", 0.0

    def ask(
        self,
        question: Callable[[], Answer],
        *,
        turn: Turn,
        failed: Callable[[Unanswered], None] = lambda _: None,
        waiting: Callable[[str, float], None] = lambda *_: None,
    ) -> Answer:
        """The answer, asked for again until the turn ends. Raises `DependencyUnavailable` then.

        Nothing is sent while the service has asked to be left alone. `failed` hears of each failure, and may raise;
        `waiting` hears of each pause, with the reason and its seconds.
        """
        attempt = 0
        while True:
            closed = self._gate.closed_for()
            if closed > 0:
                self._rest(self._gate.reason, closed, turn, waiting)
                continue
            if self._trouble and self._trouble_at > turn.began and self._clock.monotonic() > turn.ends:
                # Others have used up the turn; with a service that hangs, each would take as long again.
                self._rest(self._trouble, 0.0, turn, waiting)
            try:
                answer = question()
            except Refused:
                self._answered()
                raise
            except Unanswered as error:
                self._trouble, self._trouble_at = error.detail, self._clock.monotonic()
                failed(error)
                if error.shared:
                    self._gate.close(error.detail, error.wait)
                else:
                    self._rest(error.detail, pause(attempt) if error.wait is None else error.wait, turn, waiting)
                attempt += 1
            else:
                self._answered()
                return answer

    def _answered(self) -> None:
        self._trouble = ""
        self._gate.answered()

    def _rest(self, reason: str, seconds: float, turn: Turn, waiting: Callable[[str, float], None]) -> None:
        if self._clock.monotonic() + seconds > turn.ends:
            raise DependencyUnavailable(
                self._service,
                f"{reason}; the next attempt may be made in {seconds:.0f} s",
                "It is asked again by itself; if this lasts, look at the service's status page and at the limits of "
                "your plan, or lower SIGHTLINE_REMOTE__CONCURRENCY",
            )
        waiting(reason, seconds)
        self._clock.sleep(seconds)
