"""When a service may be asked again: known to everybody who asks it, so that a rate limit is met once."""

import random
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from encoders.remote.clock import Clock

FIRST, MOST = 0.5, 30.0
"""Seconds of the first pause and of the longest, where the service names none."""
MOST_ASKED = 3600.0
"""Seconds after which a service is asked again whatever it said, lest a wrong clock stop everything."""
MOST_LOADING = 60.0
"""Seconds; what services estimate of a start is a guess, seen to be wrong by half an hour."""


def pause(attempt: int) -> float:
    """Seconds to wait after a failed attempt, the first being 0: doubled each time, with jitter."""
    return float(min(MOST, FIRST * 2 ** min(attempt, 16)) * random.uniform(0.8, 1.0))


class Gate:
    """Thread-safe. Closed for a while by whoever learns that the service is away."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until = 0.0
        self._failures = 0
        self.reason = ""
        """Why it was closed last."""

    def closed_for(self) -> float:
        """Seconds until the service may be asked; 0 or less: now."""
        with self._lock:
            return self._until - self._clock.monotonic()

    def close(self, reason: str, seconds: float | None) -> None:
        """The service is away, for so many seconds if it said so."""
        with self._lock:
            now = self._clock.monotonic()
            # Those who asked at the same time tell of the same failure.
            self._failures += self._until <= now
            wait = pause(self._failures - 1) if seconds is None else max(seconds, FIRST)
            self._until, self.reason = max(self._until, now + wait), reason

    def answered(self) -> None:
        """The service is there."""
        with self._lock:
            self._failures = 0


def asked_to_wait(headers: Mapping[str, str], body: Any, now: datetime) -> float | None:
    """Seconds that an answer asks to wait: `Retry-After` (RFC 9110, both forms), or Hugging Face's `estimated_time`.

    A date is compared with the server's own `Date` where there is one, so that our clock may be wrong.
    """
    after = headers.get("retry-after", "").strip()
    if after.isascii() and after.isdigit():
        return min(float(after), MOST_ASKED)
    if after and (until := _date(after)) is not None:
        return min(max(0.0, (until - (_date(headers.get("date", "")) or now)).total_seconds()), MOST_ASKED)
    estimated = body.get("estimated_time") if isinstance(body, dict) else None
    if isinstance(estimated, int | float) and estimated >= 0:
        return float(min(estimated, MOST_LOADING))
    return None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
