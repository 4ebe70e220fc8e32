"""The keys of a running process, which follow their file without a restart."""

import hmac
import os
import time
from collections.abc import Callable
from pathlib import Path

from runtime.access.api_keys import ApiKey, digest_of, read_keys
from runtime.log import Log
from schemas.errors import ConfigurationError

EVERY_SECONDS = 1.0
SETTLED_SECONDS = 2.0
"""A file changed more recently may change again within one tick of the clock that dates it: it is read once more."""

_Seen = tuple[int, int, int]


class KeyRing:
    """The keys of a file, read again when it changes: looked at when asked, at most once a second.

    A file that cannot be read, or is gone, leaves the last good keys in force, since a slip of an editor or a volume
    that is late must not lock everybody out. To withdraw a key, revoke it.
    """

    def __init__(self, path: Path, log: Log, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads nothing yet; `load` does, and so does the first question."""
        self.path = path
        self._log = log
        self._clock = clock
        self._keys: tuple[tuple[bytes, ApiKey], ...] = ()
        self._seen: _Seen | None = None
        self._complaint: str | None = None
        self._looked = float("-inf")

    def load(self) -> int:
        """Read the file now, and answer how many keys it has; 0 without a file. Raises `ConfigurationError`."""
        try:
            self._take()
        except FileNotFoundError:
            return 0
        return len(self._keys)

    def find(self, text: str) -> ApiKey | None:
        """The key of this text, expired or not. All are compared, in constant time."""
        self._refresh()
        digest = digest_of(text)
        found: ApiKey | None = None
        for known, key in self._keys:
            if hmac.compare_digest(known, digest):
                found = key
        return found

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._looked < EVERY_SECONDS:
            return
        self._looked = now
        try:
            if self._seen is None or _seen(self.path) != self._seen:
                before = self._keys
                self._take()
                if self._keys != before:
                    self._log.info("api_keys_read", f"{len(self._keys)} API keys are in force", keys=len(self._keys))
            self._complaint = None
        except FileNotFoundError:
            if self._keys:
                self._complain(f"{self.path} is gone")
        except (ConfigurationError, OSError) as error:
            self._complain(str(error))

    def _take(self) -> None:
        # Seen before it is read: a change in between is noticed by the next look.
        seen = _seen(self.path)
        keys = read_keys(self.path)
        self._keys = tuple((key.digest, key) for key in keys)
        settled = time.time() - seen[1] / 1e9 > SETTLED_SECONDS
        self._seen = seen if settled else None

    def _complain(self, what: str) -> None:
        if what != self._complaint:
            self._complaint = what
            self._log.error("api_keys_unreadable", f"{what}; the keys read before stay in force", keys=len(self._keys))


def _seen(path: Path) -> _Seen:
    found = os.stat(path)  # noqa: PTH116  (the plain call is twice as fast, and on the way of every request)
    return found.st_ino, found.st_mtime_ns, found.st_size
