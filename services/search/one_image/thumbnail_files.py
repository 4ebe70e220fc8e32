"""Thumbnails on disk, the least recently used forgotten first. Blocking: to be called in threads."""

import os
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from runtime.log import Log

_PARTIAL = ".partial"
_TOUCH_SECONDS = 3600.0


class ThumbnailFiles:
    """Files of at most `most_bytes` in all below `folder`, by name. Thread-safe.

    What other processes wrote there is found; a file that somebody removed is a miss. A disk that is full or
    read-only costs speed and nothing else.
    """

    def __init__(self, folder: Path, most_bytes: int, *, log: Log | None = None) -> None:
        self._folder = folder
        self._most = most_bytes
        self._log = log or Log("sightline.search")
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._total = 0
        self._read = False
        self._complained = False
        self._lock = threading.Lock()

    @property
    def total_bytes(self) -> int:
        """Bytes of all files that are known."""
        return self._total

    def get(self, name: str) -> bytes | None:
        """The file's bytes, or None where there is none."""
        path = self._path(name)
        try:
            data = path.read_bytes()
            age = path.stat().st_mtime
        except OSError:
            data = b""
            age = 0.0
        with self._lock:
            self._know()
            if not data:
                self._forget(name)
                return None
            self._note(name, len(data))
        if time.time() - age > _TOUCH_SECONDS:
            # The order survives a restart, to the hour.
            with suppress(OSError):
                os.utime(path)
        return data

    def put(self, name: str, data: bytes) -> None:
        """Keep a file, and forget others until all fit. One that alone is too large is not kept."""
        if not data or len(data) > self._most:
            return
        path = self._path(name)
        partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}{_PARTIAL}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            if not self._complained:
                self._complained = True
                self._log.warning(
                    "thumbnails_not_kept",
                    f"{self._folder} cannot be written ({error}): every thumbnail is made anew; look at the disk",
                )
            return
        with self._lock:
            self._know()
            self._note(name, len(data))
            while self._total > self._most:
                oldest = next(iter(self._sizes))
                self._forget(oldest)
                with suppress(OSError):
                    self._path(oldest).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _note(self, name: str, size: int) -> None:
        self._total += size - self._sizes.pop(name, 0)
        self._sizes[name] = size

    def _forget(self, name: str) -> None:
        self._total -= self._sizes.pop(name, 0)

    def _know(self) -> None:
        """Read what is there, once; unfinished files of processes that died go."""
        if self._read:
            return
        self._read = True
        found: list[tuple[float, str, int]] = []
        for path in self._folder.glob("*/*"):
            try:
                status = path.stat()
            except OSError:
                continue
            if not path.name.endswith(_PARTIAL):
                found.append((status.st_mtime, path.name, status.st_size))
            elif time.time() - status.st_mtime > _TOUCH_SECONDS:
                with suppress(OSError):
                    path.unlink()
        for _, name, size in sorted(found):
            self._note(name, size)
