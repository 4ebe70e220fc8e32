"""What a person may name as a source: `s3://bucket[/prefix]`, or a folder's path."""

import re
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigurationError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://(.*)$", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True)
class S3Source:
    """A bucket, and the prefix that keys must start with ("" for all)."""

    bucket: str
    prefix: str = ""


@dataclass(frozen=True)
class FolderSource:
    """A folder that exists; `path` is absolute, and keeps the name that was given (links are not resolved)."""

    path: Path


def parse_source(text: str) -> S3Source | FolderSource:
    """The source that `text` names.

    Raises `ConfigurationError` for an unknown scheme, an empty or impossible bucket name, a path that
    does not exist, a path that is no folder, and anything that is not UTF-8.
    """
    if not text.strip():
        raise ConfigurationError("the source is empty; name a folder, for example ~/Pictures, or s3://bucket/prefix")
    if not _is_utf8(text):
        raise ConfigurationError(
            f"{text!r} is not UTF-8, so no event could carry it; rename it, or name it by a path or prefix in UTF-8"
        )
    scheme = _SCHEME.match(text)
    if scheme is None:
        return FolderSource(existing_folder(Path(text)))
    if scheme[1].lower() != "s3":
        raise ConfigurationError(
            f"{text}: {scheme[1]}:// is no source that can be read; name a folder by its plain path, "
            f"or a bucket as s3://bucket/prefix (other stores that speak S3: set SIGHTLINE_S3__ENDPOINT_URL)"
        )
    bucket, _, prefix = scheme[2].partition("/")
    if not bucket:
        raise ConfigurationError(f"{text} names no bucket; write s3://bucket or s3://bucket/prefix")
    if not _BUCKET.fullmatch(bucket):
        raise ConfigurationError(
            f"{bucket!r} cannot be a bucket's name: letters, digits, dots, hyphens and underscores only, "
            f"at least two of them; write s3://bucket/prefix"
        )
    return S3Source(bucket, prefix)


def existing_folder(path: Path) -> Path:
    """`path` made absolute, with `~` expanded. Raises `ConfigurationError` unless it is a folder with a usable path."""
    try:
        # Not resolve(): a link keeps its own name, which is part of every point's id.
        folder = Path(re.sub(r"/+", "/", str(path.expanduser().absolute())))
        parts = [part for part in folder.parts if part != "."]
        if ".." in parts:
            folder = folder.resolve()
        is_folder, exists = folder.is_dir(), folder.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(f"{str(path)!r} cannot be used as a folder: {error}; name another one") from None
    if not _is_utf8(str(folder)):
        raise ConfigurationError(
            f"{str(folder)!r} has a part that is not UTF-8, which no event and no watch could carry; rename that part"
        )
    if not exists:
        raise ConfigurationError(f"the folder {folder} does not exist; make it, mount it, or name another one")
    if not is_folder:
        raise ConfigurationError(f"{folder} is a file, not a folder; name the folder that it is in: {folder.parent}")
    if not 0 < len(folder.name.encode()) <= 255:
        raise ConfigurationError(f"{folder} has no name that can stand for a bucket; name a folder below it")
    return folder


def _is_utf8(text: str) -> bool:
    """False where Python put surrogates in the place of bytes that are no UTF-8 (PEP 383)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
