"""Which originals a process can show: those of its own source, or those of any allowed bucket and known folder."""

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from cli.known_folders import known_folders
from cli.sources import s3_store
from runtime.settings import Settings
from schemas.errors import ConfigurationError, DependencyUnavailable
from services.search.one_image.originals import NoOriginals, Originals
from services.search.one_image.thumbnail_files import ThumbnailFiles
from services.search.one_image.thumbnails import Thumbnails
from stores.folder import FolderClock, FolderStore
from stores.objects import OriginalStore

FAILURE_SECONDS = 15.0
"""How long a store that could not be opened is not tried again: a page asks for hundreds of thumbnails at once."""


class SourceStores:
    """The one source that this process keeps indexed."""

    def __init__(self, store: OriginalStore) -> None:
        self._store = store

    @asynccontextmanager
    async def lend(self, source: str, bucket: str) -> AsyncIterator[OriginalStore]:
        """The source's store. Raises `NoOriginals` for any other."""
        if (source, bucket) != (self._store.source, self._store.bucket):
            raise NoOriginals(
                f"this process follows {self._store.source}://{self._store.bucket}, and the image is of "
                f"{source}://{bucket}"
            )
        yield self._store


@dataclass
class _Open:
    store: OriginalStore
    entered: AsyncExitStack
    lent: int = 0


class KnownStores:
    """Buckets and folders, opened when they are first needed, at most `settings.originals.buckets` at a time.

    Buckets: those that SIGHTLINE_INGEST__BUCKETS allows, any if it names none. Folders: those that `sightline up` or
    `index` noted in this data folder, where this process can see them.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        open_bucket: Callable[[str, Settings], OriginalStore] = s3_store,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._open_bucket = open_bucket
        self._clock = clock
        self._stores: OrderedDict[tuple[str, str], _Open] = OrderedDict()
        self._failed: dict[tuple[str, str], tuple[float, Exception]] = {}
        self._opening: dict[tuple[str, str], asyncio.Lock] = {}

    async def __aenter__(self) -> Self:
        """Nothing is opened yet: a search service must start whether or not it can reach a bucket."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all."""
        for one in self._stores.values():
            await one.entered.aclose()
        self._stores.clear()

    @asynccontextmanager
    async def lend(self, source: str, bucket: str) -> AsyncIterator[OriginalStore]:
        """The store, opened if need be. Raises `NoOriginals` and `DependencyUnavailable`."""
        # One lock for each, so that a store that hangs keeps nobody from another.
        async with self._opening.setdefault((source, bucket), asyncio.Lock()):
            one = await self._known(source, bucket)
            one.lent += 1
        try:
            yield one.store
        finally:
            one.lent -= 1

    async def _known(self, source: str, bucket: str) -> _Open:
        place = (source, bucket)
        if place in self._stores:
            self._stores.move_to_end(place)
            return self._stores[place]
        since, failure = self._failed.get(place, (0.0, None))
        if failure is not None and self._clock() - since < FAILURE_SECONDS:
            raise failure
        self._failed.pop(place, None)
        await self._make_room()
        entered = AsyncExitStack()
        try:
            store = await entered.enter_async_context(self._store(source, bucket))
        except (NoOriginals, DependencyUnavailable, ConfigurationError) as error:
            said = NoOriginals(str(error)) if isinstance(error, ConfigurationError) else error
            if len(self._failed) > 1000:
                self._failed.clear()
            self._failed[place] = (self._clock(), said)
            raise said from None
        self._stores[place] = _Open(store, entered)
        return self._stores[place]

    def _store(self, source: str, bucket: str) -> OriginalStore:
        if source == "folder":
            return self._folder(bucket)
        if source != "s3":
            raise NoOriginals(f"nobody here reads {source}://{bucket}")
        allowed = self._settings.ingest.buckets
        if allowed and bucket not in allowed:
            raise NoOriginals(f"the bucket {bucket} is not among SIGHTLINE_INGEST__BUCKETS")
        return self._open_bucket(bucket, self._settings)

    def _folder(self, name: str) -> FolderStore:
        root = known_folders(self._settings.data_dir).get(name)
        if root is None:
            raise NoOriginals(f"this process does not know where the folder {name} is")
        # Nothing is judged by this clock: it only looks.
        return FolderStore(root, max_bytes=self._settings.limits.object_bytes, clock=FolderClock(0))

    async def _make_room(self) -> None:
        while len(self._stores) >= self._settings.originals.buckets:
            place = next((place for place, one in self._stores.items() if not one.lent), None)
            if place is None:
                raise DependencyUnavailable(
                    "s3",
                    f"{len(self._stores)} buckets are being read, more than are opened at a time",
                    "Ask again in a moment, or raise SIGHTLINE_ORIGINALS__BUCKETS",
                )
            await self._stores.pop(place).entered.aclose()


def hands_out_links(settings: Settings) -> bool:
    """Whether whoever asks can be expected to reach the store by the address that this process reaches it by."""
    if settings.originals.delivery != "auto":
        return settings.originals.delivery == "link"
    if settings.s3.endpoint_url is None:
        return True
    host = urlsplit(settings.s3.endpoint_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        # A name without a dot, and these endings, are known inside a network only.
        inner = (".local", ".internal", ".localhost", ".svc", ".lan", ".home.arpa", ".cluster.local")
        return "." in host and not host.endswith(inner)


def make_originals(settings: Settings, stores: SourceStores | KnownStores) -> Originals:
    """Originals as the settings deliver them."""
    return Originals(stores, links=hands_out_links(settings), link_seconds=settings.originals.link_seconds)


def make_thumbnails(settings: Settings, originals: Originals) -> Thumbnails:
    """Thumbnails kept below the data folder."""
    most = settings.thumbnails.cache_bytes
    files = ThumbnailFiles(settings.data_dir / "thumbnails", most) if most else None
    return Thumbnails(originals, files, max_pixels=settings.limits.pixels, at_once=settings.thumbnails.at_once)
