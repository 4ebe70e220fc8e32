"""When a refused request is worth sending again, and after how long."""

from dataclasses import dataclass

import httpx

BUSY = frozenset({429, 503})


@dataclass(frozen=True)
class Patience:
    """At most `attempts` sendings of one request; who asks for more than `longest` seconds is not awaited."""

    attempts: int = 4
    longest: float = 30.0

    def wait(self, response: httpx.Response, attempt: int) -> float | None:
        """Seconds until the next attempt, the first having number 1; None: give up.

        Only what the service itself calls passing is tried again: 429 and 503 with `Retry-After`.
        """
        asked = response.headers.get("retry-after", "")
        if response.status_code not in BUSY or attempt >= self.attempts or not asked.isdigit():
            return None
        return float(asked) if float(asked) <= self.longest else None
