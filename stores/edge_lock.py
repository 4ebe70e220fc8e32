"""The lock of an Edge collection: a file that a process holds with flock while it has the collection open."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.02


class CannotOpen(Exception):
    """The collection cannot be opened; the message is a sentence for a person."""


def take_lock(folder: Path, wait: float, given_up: Callable[[], bool], owner: int) -> int:
    """The descriptor that holds the lock of the collection in `folder` until it is closed.

    Waits up to `wait` seconds for another process to let go of it, unless `given_up`. `owner` is the process
    that a person sees; its number is left in the lock file. Raises `CannotOpen`.
    """
    lock = opened_lock(folder)
    deadline = time.monotonic() + wait
    while not locked(lock, owner):
        if time.monotonic() >= deadline or given_up():
            error = refused(lock, folder, wait)
            os.close(lock)
            raise error
        time.sleep(POLL_SECONDS)
    return lock


def opened_lock(folder: Path) -> int:
    """The descriptor of the lock file, which is made if it is missing. Raises `CannotOpen`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise CannotOpen(
            f"the index in {folder} cannot be opened: {error.strerror}. "
            "Give Sightline a folder that it may write to (--data-dir)"
        ) from error


def locked(lock: int, owner: int) -> bool:
    """Take the lock if it is free, and leave the owner's number in the file."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(owner).encode(), 0)
    return True


def refused(lock: int, folder: Path, wait: float) -> CannotOpen:
    """The error of a lock that did not become free; it names who has it."""
    holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
    return CannotOpen(
        f"the index in {folder} is open in another sightline process (process {holder}) and did "
        f"not become free within {wait:g} s. Stop that process, ask it instead of opening its index, "
        "or use another --data-dir"
    )
