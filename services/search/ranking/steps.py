"""How long each step of a search took."""

import time


class Steps:
    """Times one step after another, in milliseconds."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {"embed": 0.0, "search": 0.0, "payload": 0.0}
        self._since = time.perf_counter()

    def done(self, step: str) -> None:
        """The step that has just ended."""
        now = time.perf_counter()
        self.ms[step] = round((now - self._since) * 1000, 3)
        self._since = now
