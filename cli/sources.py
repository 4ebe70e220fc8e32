"""The place that is kept indexed: a folder or a bucket, opened as an object store."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import TypeAdapter, ValidationError

from cli.patterns import key_patterns
from runtime.settings import Settings
from schemas.errors import ConfigurationError, DependencyUnavailable
from stores.folder import FolderClock, FolderStore
from stores.objects import ObjectStore
from stores.s3 import BucketMissing, S3Store
from stores.source import FolderSource, S3Source, parse_source
from stores.vectors import VectorIndex

_CLAIMS = TypeAdapter(dict[str, str])


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


def check_source(text: str, settings: Settings) -> None:
    """Raise `ConfigurationError` for a source that cannot be opened, before anything slow is done for it."""
    source = parse_source(text)
    if isinstance(source, FolderSource):
        _refuse_data_inside(source, settings.data_dir)


async def open_source(text: str, settings: Settings, index: VectorIndex, *, claim: bool = True) -> OpenSource:
    """The source that a person named; its store is not entered yet. Raises `ConfigurationError`.

    `claim=False` leaves nothing behind. A folder's clock starts above the highest version in its
    index, so that no point is ever frozen.
    """
    source = parse_source(text)
    if isinstance(source, S3Source):
        return OpenSource(s3_store(source.bucket, settings), source.prefix)
    if claim:
        _claim_folder_name(settings.data_dir, source)
    highest = await index.highest_version("folder", source.path.name)
    store = FolderStore(
        source.path,
        max_bytes=settings.limits.object_bytes,
        clock=FolderClock(highest),
        prune=key_patterns(settings).prunes,
    )
    return OpenSource(store, "")


def _refuse_data_inside(source: FolderSource, data_dir: Path) -> None:
    """An index inside the folder that it indexes would hint at itself for ever."""
    if data_dir.resolve().is_relative_to(source.path.resolve()):
        raise ConfigurationError(
            f"the data folder {data_dir} lies inside {source.path}, so what is written there would be looked at again "
            "and again. Choose one elsewhere with --data-dir"
        )


def _claim_folder_name(data_dir: Path, source: FolderSource) -> None:
    """Refuse a second folder of the same name: its bucket would be the first one's, whose images would all go."""
    path = data_dir / "folders.json"
    name, root = source.path.name, str(source.path)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        claimed = _CLAIMS.validate_json(path.read_bytes()) if path.exists() else {}
        first = Path(claimed.get(name, root))
        if first != source.path and not (first.exists() and first.samefile(source.path)):
            raise ConfigurationError(
                f"{data_dir} already indexes {first} as bucket {name!r}; {root} has the same name. Give it a data "
                f"folder of its own with --data-dir, or, if the folder was moved, remove its line from {path}"
            )
        partial = path.with_suffix(".partial")
        partial.write_bytes(_CLAIMS.dump_json(claimed | {name: root}, indent=2))
        partial.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{data_dir} cannot be written ({error}); choose another with --data-dir") from error
    except ValidationError as error:
        raise ConfigurationError(f"{path} is damaged; remove it, and the next start writes it again") from error


class OneStore:
    """The directory of embedded mode: the one source, and nothing else."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def store(self, source: str, bucket: str) -> ObjectStore | None:
        """The source's store, if the event is about it."""
        return self._store if (source, bucket) == (self._store.source, self._store.bucket) else None


class S3Buckets:
    """The directory of distributed mode: any allowed bucket, opened when it is first needed.

    A bucket that nobody allowed by name and that is proved not to exist is nobody's outage: events about
    it are rejected. Everything else that prevents a look (credentials, a wrong endpoint) is waited for.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowed: Sequence[str] = settings.ingest.buckets
        self._stores: dict[str, S3Store] = {}
        self._entered = AsyncExitStack()
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Open the buckets that are allowed by name, all or none.

        Raises `ConfigurationError` for one that cannot be opened, `DependencyUnavailable` where that may pass.
        """
        try:
            for bucket in self._allowed:
                await self._open(bucket)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all buckets."""
        self._stores.clear()
        await self._entered.aclose()

    async def store(self, source: str, bucket: str) -> ObjectStore | None:
        """The bucket's store, or None when it must not be read or does not exist. Raises `DependencyUnavailable`."""
        if source != "s3" or (self._allowed and bucket not in self._allowed):
            return None
        async with self._opening:
            if bucket in self._stores:
                return self._stores[bucket]
            try:
                return await self._open(bucket)
            except BucketMissing:
                return None
            except ConfigurationError as error:
                raise DependencyUnavailable("s3", str(error), "It is tried again; nothing is rejected") from error

    async def _open(self, bucket: str) -> S3Store:
        store = await self._entered.enter_async_context(s3_store(bucket, self._settings))
        self._stores[bucket] = store
        return store
