"""The folders whose files may be named by path: nothing outside them is read, or even admitted to exist."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from services.search.problems import Problem, ProblemKind
from stores.folder_files import FileRead, FolderFiles


class PhotoRoot:
    """One such folder. `indexed_as` are source and bucket where the index holds its files.

    Raises `ConfigurationError` where there is no such folder.
    """

    def __init__(self, path: Path, *, indexed_as: tuple[str, str] | None = None) -> None:
        self.path = Path(os.path.realpath(path.expanduser()))
        self.indexed_as = indexed_as
        self._files = FolderFiles(self.path, lambda _: False)
        self._files.attach()

    def key_of(self, path: Path) -> str | None:
        """What a resolved path is called below this folder, with forward slashes; None outside, "" for itself."""
        if not path.is_relative_to(self.path):
            return None
        key = path.relative_to(self.path).as_posix()
        return "" if key == "." else key

    def read(self, key: str, most_bytes: int) -> FileRead | None:
        """A file's bytes, opened without following any link out. Raises `DependencyUnavailable`."""
        return self._files.read(key, most_bytes)

    def files(self, folder: str, suffixes: Sequence[str]) -> Iterator[str]:
        """The keys of the readable files below a folder ("" or "a/b") with one of these endings, whatever their case.

        Raises `DependencyUnavailable` for a sub-folder that cannot be listed.
        """
        for key, _ in self._files.walk(f"{folder}/" if folder else ""):
            if key.lower().endswith(tuple(suffixes)):
                yield key


class Place:
    """A path that lies under a root, with all links resolved. `key` is "" for the root itself."""

    def __init__(self, root: PhotoRoot, key: str) -> None:
        self.root = root
        self.key = key

    @property
    def path(self) -> Path:
        """The resolved path."""
        return self.root.path / self.key


class PhotoRoots:
    """The folders that may be named. A path is taken as it is, or, where it is relative, as below the first of them."""

    def __init__(self, roots: Sequence[PhotoRoot]) -> None:
        # Where one lies in another, what the index holds comes first.
        self._roots = sorted(roots, key=lambda root: root.indexed_as is None)
        self._start = roots[0].path if roots else Path("/")

    def place(self, text: str) -> Place:
        """Where a path leads. Blocking. Raises `Problem` 403 for one that leads outside, whether or not it exists."""
        with suppress(OSError, ValueError):  # of names that no file can have
            path = Path(os.path.realpath(self._start / text))
            for root in self._roots:
                key = root.key_of(path)
                if key is not None:
                    return Place(root, key)
        raise Problem(
            403,
            ProblemKind.OUTSIDE_ROOTS,
            "The path does not lie in a folder that this service may read.",
            "Name a file or folder in the folder that `sightline up` keeps indexed, or in one that whoever runs this "
            "service has named in SIGHTLINE_TAGS__ROOTS.",
        )
