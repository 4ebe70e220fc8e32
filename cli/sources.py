"""The place that is kept indexed: a folder or a bucket, opened as an object store."""

import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.patterns import key_patterns
from runtime.settings import Settings
from schemas.errors import ConfigurationError
from stores.folder import FolderClock, FolderStore
from stores.objects import ObjectStore
from stores.s3 import S3Store
from stores.source import FolderSource, S3Source, parse_source
from stores.vectors import VectorIndex


@dataclass(frozen=True)
class OpenSource:
    """A source and what of it is wanted."""

    store: FolderStore | S3Store
    prefix: str

    @property
    def text(self) -> str:
        """How a person names it."""
        if isinstance(self.store, FolderStore):
            return str(self.store.root)
        return f"s3://{self.store.bucket}/{self.prefix}"


def s3_store(bucket: str, settings: Settings) -> S3Store:
    """A bucket as the settings reach it; not entered yet."""
    s3 = settings.s3
    return S3Store(
        bucket,
        endpoint_url=s3.endpoint_url,
        region=s3.region,
        addressing_style=s3.addressing_style,
        connect_timeout=s3.connect_timeout,
        read_timeout=s3.read_timeout,
        max_connections=s3.max_connections,
        max_bytes=settings.limits.object_bytes,
    )


async def open_source(text: str, settings: Settings, index: VectorIndex) -> OpenSource:
    """The source that a person named; its store is not entered yet. Raises `ConfigurationError`.

    A folder's clock starts above the highest version in its index, so that no point is ever frozen.
    """
    source = parse_source(text)
    if isinstance(source, S3Source):
        return OpenSource(s3_store(source.bucket, settings), source.prefix)
    _claim_folder_name(settings.data_dir, source)
    highest = await index.highest_version("folder", source.path.name)
    store = FolderStore(
        source.path,
        max_bytes=settings.limits.object_bytes,
        clock=FolderClock(highest),
        prune=key_patterns(settings).prunes,
    )
    return OpenSource(store, "")


def _claim_folder_name(data_dir: Path, source: FolderSource) -> None:
    """Refuse a second folder of the same name: its bucket would be the first one's, whose images would all go."""
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / "folders.json"
    claimed: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    name, root = source.path.name, str(source.path)
    if claimed.setdefault(name, root) != root and Path(claimed[name]).exists():
        raise ConfigurationError(
            f"{data_dir} already indexes {claimed[name]} as bucket {name!r}; {root} has the same name. "
            "Give it a data folder of its own with --data-dir"
        )
    claimed[name] = root
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(claimed, indent=2))
    partial.replace(path)


class OneStore:
    """The directory of embedded mode: the one source, and nothing else."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def store(self, source: str, bucket: str) -> ObjectStore | None:
        """The source's store, if the event is about it."""
        return self._store if (source, bucket) == (self._store.source, self._store.bucket) else None


class S3Buckets:
    """The directory of distributed mode: any allowed bucket, opened when it is first needed.

    A bucket that nobody allowed by name and that does not exist is nobody's outage: events about it
    are rejected. One that was allowed, or was there once, is waited for.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowed: Sequence[str] = settings.ingest.buckets
        self._stores: dict[str, S3Store] = {}
        self._entered = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the buckets that are allowed by name. Raises `ConfigurationError` for one that does not exist."""
        for bucket in self._allowed:
            self._stores[bucket] = await self._entered.enter_async_context(s3_store(bucket, self._settings))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all buckets."""
        await self._entered.aclose()

    async def store(self, source: str, bucket: str) -> ObjectStore | None:
        """The bucket's store, or None when it must not be read or does not exist."""
        if source != "s3" or (self._allowed and bucket not in self._allowed):
            return None
        if bucket not in self._stores:
            try:
                self._stores[bucket] = await self._entered.enter_async_context(s3_store(bucket, self._settings))
            except ConfigurationError:
                return None
        return self._stores[bucket]
