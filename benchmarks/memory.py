"""How much memory a piece of work takes at its peak, beyond what was there before."""

import gc
import resource
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_STATM, _STATUS = Path("/proc/self/statm"), Path("/proc/self/status")


class PeakMemory:
    """A context manager. `peak` and `before` are bytes of resident memory, sampled every 10 ms."""

    def __enter__(self) -> Self:
        gc.collect()
        self.before = self.peak = resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        """Bytes beyond what was there before."""
        return self.peak - self.before

    def _sample(self) -> None:
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, resident())


def resident() -> int:
    """Bytes of resident memory of this process; where there is no /proc, the most there ever was."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    return most_resident()


def most_resident() -> int:
    """Bytes of resident memory of this process when it had most."""
    if _STATUS.exists():
        # What getrusage tells begins with the memory of the process that started this one.
        line = next(one for one in _STATUS.read_text().splitlines() if one.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
