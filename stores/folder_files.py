"""The files below a folder: opened safely, read whole, walked in order. Blocking; `stores.folder` calls it in threads.

Everything is opened relative to a descriptor of the verified root, one name at a time and never
through a link, so that no look can leave the folder whatever is renamed while it happens.
"""

import errno
import logging
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TypeVar

from schemas.errors import DependencyUnavailable
from stores.objects import Flowed
from stores.reading import whole
from stores.source import existing_folder

T = TypeVar("T")

_log = logging.getLogger(__name__)

READ_TRIES = 3
"""How often a file that changes while it is read is read again."""
PIECE_BYTES = 1024 * 1024
"""A file is read in pieces of so much: a share may be far away."""

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LISTING = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Non-blocking: should a pipe take the place of a file between stat and open, opening it must not hang.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_DENIED = {errno.EACCES, errno.EPERM}
_AS_EFFECTIVE_USER = os.access in os.supports_effective_ids


@dataclass(frozen=True)
class FileRead:
    """A file's bytes. `data` is None when the file is larger than was asked for; `steady` is False when the file
    changed during every try: `status` is then older than the bytes, so that its ETag is already stale.
    """

    status: os.stat_result
    data: bytes | None
    steady: bool = True


@dataclass(frozen=True)
class LeftOut:
    """How many files a listing of the whole folder left out: names that are not UTF-8, files that may not be read."""

    names_not_utf8: int = 0
    unreadable: int = 0


def etag_of(status: os.stat_result) -> str:
    """A folder's ETag: `size-mtime_ns-ctime_ns-inode`."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


class FolderFiles:
    """A folder, remembered by device and inode. `prune(folder)` says which sub-folders ("a/b/") are never entered."""

    def __init__(self, root: Path, prune: Callable[[str], bool]) -> None:
        self.root = root
        self.left_out = LeftOut()
        self._prune = prune
        self._identity: tuple[int, int] | None = None

    def attach(self) -> None:
        """Remember which folder this is. Raises `ConfigurationError`."""
        existing_folder(self.root)
        status = self.root.stat()
        self._identity = (status.st_dev, status.st_ino)

    @contextmanager
    def verified_root(self) -> Iterator[int]:
        """A descriptor of the root, proved to be the folder that was attached. Raises `DependencyUnavailable`."""
        try:
            root = os.open(self.root, _FOLDER & ~os.O_NOFOLLOW)
        except OSError as error:
            raise DependencyUnavailable(
                "folder",
                f"the folder {self.root} cannot be opened ({error.strerror})",
                "Bring it back or mount it again; nothing is taken out of the index meanwhile",
            ) from error
        try:
            status = os.fstat(root)
            if self._identity != (status.st_dev, status.st_ino):
                raise DependencyUnavailable(
                    "folder",
                    f"{self.root} is another folder than at the start: unmounted, or replaced",
                    "Mount it again; if this is the folder that you mean, restart",
                )
            yield root
        finally:
            os.close(root)

    def read(self, key: str, limit: int, flowed: Flowed = lambda count: None) -> FileRead | None:
        """The file's bytes if they are at most `limit`; None where no such file is. Raises `DependencyUnavailable`."""
        with self.verified_root() as root:
            before, data = None, b""
            for _ in range(READ_TRIES):
                try:
                    descriptor = self._open(root, key)
                    if descriptor is None:
                        return None
                    with os.fdopen(descriptor, "rb", buffering=0) as file:
                        before = os.fstat(descriptor)
                        if not stat.S_ISREG(before.st_mode):
                            return None
                        if before.st_size > limit:
                            return FileRead(before, None)
                        data = _read(file, before.st_size + 1, flowed)
                        after = os.fstat(descriptor)
                except OSError as error:
                    if error.errno in _NOT_THERE:
                        return None
                    raise _unavailable(self.root / key, error) from error
                if etag_of(before) == etag_of(after) and len(data) == before.st_size:
                    return FileRead(before, data)
            assert before is not None  # noqa: S101 - READ_TRIES is positive
            return FileRead(before, data[: before.st_size], steady=False)

    def status(self, key: str) -> os.stat_result | None:
        """What the file is now, without its bytes; None where no such file is. Raises `DependencyUnavailable`."""
        return self._with_file(key, os.fstat)

    def part(self, key: str, etag: str, start: int, length: int) -> bytes | None:
        """Bytes of the file while it has this ETag; None otherwise. Raises `DependencyUnavailable`."""

        def read(descriptor: int) -> bytes | None:
            if etag_of(os.fstat(descriptor)) != etag:
                return None
            os.lseek(descriptor, start, os.SEEK_SET)
            with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
                data = _read(file, length)
            return data if etag_of(os.fstat(descriptor)) == etag else None

        return self._with_file(key, read)

    def _with_file(self, key: str, work: Callable[[int], T | None]) -> T | None:
        with self.verified_root() as root:
            try:
                descriptor = self._open(root, key)
                if descriptor is None:
                    return None
                try:
                    return work(descriptor) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
                finally:
                    os.close(descriptor)
            except OSError as error:
                if error.errno in _NOT_THERE:
                    return None
                raise _unavailable(self.root / key, error) from error

    def walk(self, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        """Every readable file whose key starts with `prefix`, keys ascending by code point (as UTF-8 bytes sort).

        Raises `DependencyUnavailable` when a sub-folder cannot be listed, or the root is no longer
        there at the end: then files may be missing from the walk.
        """
        left_out: Counter[str] = Counter()
        base = prefix[: prefix.rfind("/") + 1]
        with self.verified_root() as root:
            if not self._enterable(root, base):
                return
            pending = [iter(self._entries(root, base, prefix, left_out))]
            while pending:
                entry = next(pending[-1], None)
                if entry is None:
                    pending.pop()
                elif entry[1] is None:
                    pending.append(iter(self._entries(root, entry[0], prefix, left_out)))
                else:
                    yield entry[0], entry[1]
        with self.verified_root():
            pass
        if not prefix:
            self.left_out = LeftOut(left_out["names_not_utf8"], left_out["unreadable"])
            if left_out:
                _log.warning(
                    "%s: left out %d files whose names are not UTF-8 (rename them) and %d that may not be read "
                    "(chmod +r them)",
                    self.root,
                    self.left_out.names_not_utf8,
                    self.left_out.unreadable,
                    extra={"action": "files_left_out", "fields": dict(left_out)},
                )

    def _open(self, root: int, key: str, *, follow: bool = True) -> int | None:
        """A descriptor of the regular file at `key`, following the last name if it is a link within the root."""
        parts = _parts(key)
        if parts is None:
            return None
        with ExitStack() as folders:
            folder = root
            for part in parts[:-1]:
                folder = os.open(part, _FOLDER, dir_fd=folder)
                folders.callback(os.close, folder)
            status = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode) and follow:
                target = self._target(key)
                return None if target is None else self._open(root, target, follow=False)
            if not stat.S_ISREG(status.st_mode):
                return None
            try:
                return os.open(parts[-1], _FILE, dir_fd=folder)
            except OSError as error:
                if error.errno not in _DENIED:
                    raise
                _log.warning(
                    "%s may not be read, so it counts as not there; chmod +r it, and it comes back by itself",
                    self.root / key,
                    extra={"action": "file_unreadable", "fields": {"key": key}},
                )
                return None

    def _target(self, key: str) -> str | None:
        """Where a link leads, as a key; None when that is outside the root."""
        root, target = os.path.realpath(self.root), os.path.realpath(self.root / key)
        inside = target.startswith(f"{root.rstrip('/')}/")
        return os.path.relpath(target, root) if inside else None

    def _enterable(self, root: int, base: str) -> bool:
        """Whether `base` ("" or "a/b/") is a real folder that is not pruned."""
        if not base:
            return True
        parts = _parts(base[:-1])
        if parts is None or any(self._prune("/".join(parts[:n]) + "/") for n in range(1, len(parts) + 1)):
            return False
        with ExitStack() as folders:
            folder = root
            try:
                for part in parts:
                    folder = os.open(part, _FOLDER, dir_fd=folder)
                    folders.callback(os.close, folder)
            except OSError as error:
                if error.errno in _NOT_THERE:
                    return False
                raise _unavailable(self.root / base, error) from error
        return True

    def _entries(
        self, root: int, folder: str, prefix: str, left_out: Counter[str]
    ) -> list[tuple[str, os.stat_result | None]]:
        """Files with their status and sub-folders (ending in "/") with None, in key order."""
        found: list[tuple[str, os.stat_result | None]] = []
        try:
            # Without its slash, or the last name would be followed where a link took the folder's place.
            descriptor = os.open(folder[:-1] or ".", _LISTING, dir_fd=root)
            try:
                with os.scandir(descriptor) as entries:
                    for entry in entries:
                        key = folder + entry.name
                        if entry.is_dir(follow_symlinks=False):
                            key += "/"
                        if not key.startswith(prefix):
                            continue
                        if not _is_utf8(entry.name):
                            left_out["names_not_utf8"] += 1
                        elif key.endswith("/"):
                            if not self._prune(key):
                                found.append((key, None))
                        elif (status := self._status(root, descriptor, key, entry.name, left_out)) is not None:
                            found.append((key, status))
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno in _NOT_THERE:  # removed while listing, or a name too long for any key
                return []
            raise _unavailable(self.root / folder, error) from error
        found.sort(key=lambda item: item[0])
        return found

    def _status(self, root: int, folder: int, key: str, name: str, left_out: Counter[str]) -> os.stat_result | None:
        """The status of the regular file that `look` would read at `key`; None where there is none."""
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                target = self._target(key)
                if target is None:
                    return None
                folder, name = root, target
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                return None
            if not os.access(name, os.R_OK, dir_fd=folder, effective_ids=_AS_EFFECTIVE_USER):
                left_out["unreadable"] += 1
                return None
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
        return status


def _parts(key: str) -> list[str] | None:
    """The names that a key consists of; None where no file below a folder can have that key."""
    parts = key.split("/")
    return None if any(p in ("", ".", "..") or "\0" in p for p in parts) or not _is_utf8(key) else parts


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(file: FileIO, size: int, flowed: Flowed = lambda count: None) -> bytes:
    """Up to `size` bytes, fewer only at the end of the file."""

    def pieces() -> Iterator[bytes]:
        left = size
        while left > 0 and (piece := file.read(min(left, PIECE_BYTES))):
            yield piece
            left -= len(piece)

    return whole(pieces(), flowed)


def _unavailable(path: Path, error: OSError) -> DependencyUnavailable:
    what = "may not be entered or listed" if error.errno in _DENIED else f"cannot be read ({error.strerror})"
    remedy = (
        "Give the user that runs this read and execute permission on it, or exclude it by a pattern"
        if error.errno in _DENIED
        else "Check the disk or the network share; if only this file is damaged, move it away"
    )
    return DependencyUnavailable("folder", f"{path} {what}", remedy)
