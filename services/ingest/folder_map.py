"""The folders below a root, and what a change of a name among them means. Blocking: called in threads."""

import os
import stat
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from pathlib import Path

from services.ingest.folder_changes import ChangeKind, FolderChange


@dataclass
class SortedChanges:
    """Changes by what is at their path now. Files are keys; folders are keys that end in a slash."""

    files: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    """Names at which nothing is any more."""
    arrived: set[str] = field(default_factory=set)
    departed: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    """Folders that stayed, and whose rights or times changed."""


class FolderMap:
    """Remembers every folder, since nothing tells afterwards whether a name that is gone was one.

    `prunes(folder)` says which folders are of no interest, with all below them.
    """

    def __init__(self, root: Path, prunes: Callable[[str], bool]) -> None:
        self._root = root
        self._prunes = prunes
        self._folders: set[str] = set()

    def scan(self) -> str | None:
        """Learn all folders anew. A link to a folder outside the root is returned, if there is one."""
        self._folders, outside = self._below("")
        return outside

    def sort(self, changes: Set[FolderChange]) -> SortedChanges:
        """What is at each path now. Look, don't trust: a change's kind counts only for folders that are there."""
        found = SortedChanges()
        real_root = os.path.realpath(self._root)
        parents: dict[str, str | None] = {}
        for change in changes:
            parent, _, name = change.path.rpartition("/")
            if parent not in parents:
                parents[parent] = _real_folder(real_root, parent)
            real = parents[parent]
            if not name or real is None or self._prunes(real):
                continue
            key = real + name
            mode = _mode(self._root / key)
            if mode is not None and stat.S_ISDIR(mode):
                folder = f"{key}/"
                if not self._prunes(folder):
                    stayed = folder in self._folders and change.kind is ChangeKind.MODIFIED
                    (found.touched if stayed else found.arrived).add(folder)
                continue
            if f"{key}/" in self._folders:
                found.departed.add(f"{key}/")
            elif mode is None:
                found.missing.add(key)
            if mode is not None:
                found.files.add(key)
            self._folders.update(key[: at + 1] for at, letter in enumerate(key) if letter == "/")
        found.touched -= found.arrived
        for folder in found.arrived:
            below, _ = self._below(folder)
            self._folders |= below
        if found.departed:
            gone = tuple(found.departed)
            self._folders = {folder for folder in self._folders if not folder.startswith(gone)}
        return found

    def _below(self, start: str) -> tuple[set[str], str | None]:
        """All folders at and below `start`, and a link out of the root. What cannot be read is skipped."""
        real_root = os.path.realpath(self._root).rstrip("/")
        folders: set[str] = {start} if start else set()
        outside: str | None = None
        pending = [start]
        while pending:
            folder = pending.pop()
            try:
                with os.scandir(self._root / folder) as entries:
                    for entry in entries:
                        key = f"{folder}{entry.name}/"
                        if self._prunes(key) or not entry.is_dir():
                            continue
                        if not entry.is_symlink():
                            folders.add(key)
                            pending.append(key)
                        elif not f"{os.path.realpath(entry.path)}/".startswith(f"{real_root}/"):
                            outside = key
            except OSError:
                continue
        return folders, outside


def topmost(folders: Iterable[str]) -> list[str]:
    """The folders that are below no other of them."""
    top: list[str] = []
    for folder in sorted(folders):
        if not top or not folder.startswith(top[-1]):
            top.append(folder)
    return top


def _real_folder(real_root: str, folder: str) -> str | None:
    """Where `folder` ("" or "a/b") really is, as "" or "a/b/"; None when a link leads out of the root.

    A folder to which a link leads as well may be reported by the link's path.
    """
    base = real_root.rstrip("/")
    real = os.path.realpath(f"{base}/{folder}")
    if real == real_root:
        return ""
    return f"{real[len(base) + 1 :]}/" if real.startswith(f"{base}/") else None


def _mode(path: Path) -> int | None:
    """The mode of what is at `path`, not following a link; None for nothing, and for a link to a folder."""
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):
        return None
    return None if stat.S_ISLNK(mode) and path.is_dir() else mode
