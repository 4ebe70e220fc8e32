"""Which keys are images, by name alone. The bytes decide afterwards; this saves looking at what cannot be one."""

import fnmatch
import re
import unicodedata
from collections.abc import Sequence

IMAGE_EXTENSIONS = frozenset(
    "jpg jpeg jpe jfif png webp gif tif tiff bmp avif heic heif".split()  # noqa: SIM905 - reads better than a list
)
"""Extensions of the formats that can be decoded. Keys without any extension are judged by their bytes."""

UNWANTED_FOLDERS = (
    "__macosx",  # resource forks inside archives made on macOS
    "@eadir",  # Synology thumbnails
    "@recycle",
    "@recently-snapshot",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
)
"""Folders that systems keep for themselves; compared in lower case."""

UNWANTED_NAMES = (
    ".*",  # hidden; also how rsync and editors name what they have not finished
    "*~",
    "~$*",
    "*.tmp",
    "*.temp",
    "*.part",
    "*.partial",
    "*.filepart",
    "*.crdownload",
    "*.download",
    "*.swp",
    "*.swo",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
)
"""Globs on one part of a key: hidden, unfinished, and what file managers leave behind; compared in lower case."""


class KeyPatterns:
    """Include and exclude patterns. Patterns are shell globs on the whole key: `*` crosses slashes, case is ignored.

    Given includes replace the default (image extensions, and names without one); given excludes add to
    the default, which nothing overrides.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include = [_compiled(glob) for glob in include]
        self._exclude = [(glob, _compiled(glob)) for glob in exclude]
        # What matches a glob that ends in "*" matches with anything after it, too.
        self._exclude_below = [_compiled(glob) for glob in exclude if glob.endswith("*")]

    def wants(self, key: str) -> bool:
        """Whether the object may be an image. Keys that end in a slash are folder markers and never wanted."""
        return self.why_not(key) is None

    def why_not(self, key: str) -> str | None:
        """Why the object is left alone, as a clause for a person; None if it is wanted."""
        key = _plain(key)
        *folders, name = key.split("/")
        if not name:
            return "a key that ends in a slash is the mark of a folder"
        for folder in folders:
            if _unwanted(folder):
                return f"the folder {folder} is hidden, or one that systems keep for themselves"
        if _UNWANTED_NAME.match(name):
            return "its name is that of a hidden or unfinished file, or of what file managers leave behind"
        for glob, pattern in self._exclude:
            if pattern.match(key):
                return f"it fits the exclude pattern {glob}"
        if self._include:
            return None if any(pattern.match(key) for pattern in self._include) else "it fits no include pattern"
        if _extension(name) in IMAGE_EXTENSIONS or not _extension(name):
            return None
        return f"files that end in .{_extension(name)} are not taken for images"

    def prunes(self, folder: str) -> bool:
        """Whether nothing below `folder` ("a/b/") can be wanted, so that it need not be entered."""
        folder = _plain(folder)
        return any(map(_unwanted, folder.split("/")[:-1])) or any(
            pattern.match(folder) for pattern in self._exclude_below
        )


def _plain(key: str) -> str:
    # One spelling of accents: some systems write them composed, others decomposed.
    return (key if key.isascii() else unicodedata.normalize("NFC", key)).casefold()


def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(_plain(glob)))


def _extension(name: str) -> str:
    return name.rpartition(".")[2] if "." in name else ""


_UNWANTED_NAME = re.compile("|".join(fnmatch.translate(glob) for glob in UNWANTED_NAMES))


def _unwanted(folder: str) -> bool:
    return folder in UNWANTED_FOLDERS or _UNWANTED_NAME.match(folder) is not None
