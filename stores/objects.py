"""The bucket end: what any object store must be able to say about an object as it is now.

A look takes bytes, ETag and Date from one answer. `Missing` needs proof: the store itself said that
the key does not exist, under a bucket or root that does. Anything short of proof is
`schemas.errors.DependencyUnavailable`.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from schemas.events import ObjectFacts


@dataclass(frozen=True)
class Found:
    """The object as it was at `date_ms` (Unix milliseconds, the store's own clock).

    `data` is complete: its length was compared with what the store announced. `settled` is False
    while the object may still be being written (a file younger than 2 s): bytes that cannot be
    decoded are then no verdict, and the object is to be looked at again.
    """

    facts: ObjectFacts
    date_ms: int
    data: bytes
    settled: bool = True


@dataclass(frozen=True)
class Oversized:
    """The object exists but is larger than `limit` bytes; it was not read."""

    facts: ObjectFacts
    date_ms: int
    limit: int


@dataclass(frozen=True)
class Missing:
    """The store proved at `date_ms` that the object does not exist."""

    date_ms: int


Look = Found | Oversized | Missing

Flowed = Callable[[int], None]
"""Is told of each so many bytes as they come, by the thread that reads them: a large object may take an hour."""


@dataclass(frozen=True)
class Seen:
    """The object exists, and this is what the store says of it now; its bytes were not read."""

    facts: ObjectFacts
    date_ms: int


Glance = Seen | Missing


@dataclass(frozen=True)
class ListedObject:
    """An object as a listing shows it. `modified_at` is aware; `size` is bytes."""

    key: str
    etag: str
    size: int
    modified_at: datetime


class ObjectStore(Protocol):
    """One bucket, or one folder that stands for one."""

    @property
    def source(self) -> str:
        """The kind of store, part of every point id: "s3" or "folder"."""
        ...

    @property
    def bucket(self) -> str:
        """The bucket's name, or the folder's."""
        ...

    async def __aenter__(self) -> Self:
        """Connect. Raises `ConfigurationError` when bucket or root do not exist, `DependencyUnavailable` when away."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release connections and threads."""
        ...

    async def look(self, key: str, *, flowed: Flowed = lambda count: None) -> Look:
        """The object as it is now. Raises `DependencyUnavailable`.

        Never blocks the event loop, and may be called concurrently. `flowed` hears of the bytes as they come.
        """
        ...

    def list(self, prefix: str = "") -> AsyncIterator[ListedObject]:
        """Every object whose key starts with `prefix`, in the store's order.

        Raises `DependencyUnavailable` when the listing cannot be completed: a listing that ends
        without an error is complete. A store with empty or constant ETags raises `ConfigurationError`.
        """
        ...


class OriginalStore(ObjectStore, Protocol):
    """A store whose objects are shown to people: what they are now, a part of their bytes, a link to them."""

    async def glance(self, key: str) -> Glance:
        """What the store says of the object now. Raises `DependencyUnavailable`, also where it may not be read."""
        ...

    async def part(self, key: str, *, etag: str, start: int, length: int) -> bytes | None:
        """`length` bytes from `start` of the object that has this ETag; None when it is gone or another by now.

        Fewer at the end of the object. Raises `DependencyUnavailable`.
        """
        ...

    async def link(self, key: str, *, seconds: int, content_type: str, disposition: str) -> str | None:
        """An address that anyone may read the object at for so long; None for a store that has no addresses.

        What is read there says that it is `content_type`, and has this Content-Disposition. Raises
        `DependencyUnavailable` without usable credentials.
        """
        ...
