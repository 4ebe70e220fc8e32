"""The objects behind the index, as they are in their store now: looked at, linked to, read in parts.

What is handed out is the object that was indexed or nothing: its ETag must still be the one that is stored.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from schemas.collection import PointPayload
from schemas.errors import SightlineError
from services.search.problems import Problem, ProblemKind
from stores.objects import Found, Glance, Look, Missing, OriginalStore, Oversized, Seen

LINK_SECONDS = 300

_OPAQUE = "application/octet-stream"
_MEDIA_TYPES = {name: f"image/{name}" for name in ("jpeg", "png", "webp", "gif", "avif", "bmp", "tiff", "heic")}
"""By the format that our own decoder found; what the store claims is not repeated."""


class NoOriginals(SightlineError):
    """This process cannot see the objects of that bucket or folder; the sentence says why and what to do."""


class OriginalStores(Protocol):
    """The stores whose objects this process may show."""

    def lend(self, source: str, bucket: str) -> AbstractAsyncContextManager[OriginalStore]:
        """The store for as long as the context is open.

        Raises `NoOriginals` where this process must not or cannot read it, and `DependencyUnavailable`.
        """
        ...


@dataclass(frozen=True)
class MediaType:
    """What a browser is told about an original: raster pictures are shown, everything else is saved."""

    content_type: str
    disposition: str


class Originals:
    """Originals of indexed images. Every method may raise `DependencyUnavailable`, and `Problem` 404 "no originals".

    `links` False never hands out links: for stores whose address is none for those who ask here.
    """

    def __init__(self, stores: OriginalStores, *, links: bool = True, link_seconds: int = LINK_SECONDS) -> None:
        self._stores = stores
        self._links = links
        self.link_seconds = link_seconds

    async def look(self, payload: PointPayload) -> Look:
        """The object as it is now, with its bytes."""
        try:
            async with self._stores.lend(payload.source, payload.bucket) as store:
                return await store.look(payload.key)
        except NoOriginals as error:
            raise no_originals(str(error)) from None

    async def glance(self, source: str, bucket: str, key: str) -> Glance:
        """What the store says of an object now. Raises `NoOriginals` where that cannot be known here."""
        async with self._stores.lend(source, bucket) as store:
            return await store.glance(key)

    async def unchanged(self, payload: PointPayload) -> Seen:
        """What the store says of the object that was indexed. Raises `Problem` 404 or 409 where it is another now."""
        try:
            glance = await self.glance(payload.source, payload.bucket, payload.key)
        except NoOriginals as error:
            raise no_originals(str(error)) from None
        if isinstance(glance, Missing):
            raise gone(payload)
        if glance.facts.etag != payload.etag:
            raise changed(payload)
        return glance

    async def bytes_of(self, payload: PointPayload) -> bytes:
        """The bytes that were indexed. Raises `Problem` 404 or 409 when the store has others, or too many."""
        look = await self.look(payload)
        if isinstance(look, Missing):
            raise gone(payload)
        if look.facts.etag != payload.etag:
            raise changed(payload)
        if isinstance(look, Oversized):
            raise Problem(
                409,
                ProblemKind.NO_THUMBNAIL,
                f"{payload.key} has {look.facts.size} bytes, more than the {look.limit} that are read here.",
                "Raise SIGHTLINE_LIMITS__OBJECT_BYTES, or fetch the original.",
            )
        assert isinstance(look, Found)  # noqa: S101 - the only other kind of look
        return look.data

    async def link(self, payload: PointPayload, seconds: int | None = None) -> str | None:
        """An address that anyone may read the object at for so long; None where it has to be streamed from here."""
        if not self._links:
            return None
        media = media_type(payload)
        try:
            async with self._stores.lend(payload.source, payload.bucket) as store:
                return await store.link(
                    payload.key,
                    seconds=seconds or self.link_seconds,
                    content_type=media.content_type,
                    disposition=media.disposition,
                )
        except NoOriginals as error:
            raise no_originals(str(error)) from None

    async def part(self, payload: PointPayload, start: int, length: int) -> bytes | None:
        """Bytes of the indexed object; None when it is gone or another by now."""
        try:
            async with self._stores.lend(payload.source, payload.bucket) as store:
                return await store.part(payload.key, etag=payload.etag or "", start=start, length=length)
        except NoOriginals as error:
            raise no_originals(str(error)) from None


def media_type(payload: PointPayload) -> MediaType:
    """What to tell a browser about the original, by the format that the decoder found in its bytes."""
    content_type = _MEDIA_TYPES.get((payload.format or "").lower(), _OPAQUE)
    name = payload.key.rstrip("/").rpartition("/")[2] or "image"
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%;' else "_" for c in name)
    kind = "attachment" if content_type == _OPAQUE else "inline"
    # RFC 6266: the plain name for old readers, the whole one for all others.
    return MediaType(content_type, f"{kind}; filename=\"{plain[:150]}\"; filename*=UTF-8''{quote(name[:150], safe='')}")


def no_originals(why: str) -> Problem:
    """The problem of a process that cannot see the objects."""
    return Problem(
        404,
        ProblemKind.NO_ORIGINALS,
        f"There are no originals here: {why}.",
        "Ask a service that can read the bucket or folder, or give this one access and start it again.",
    )


def gone(payload: PointPayload) -> Problem:
    """The problem of an object that left its store, and the index does not know it yet."""
    return Problem(
        404,
        ProblemKind.NO_SUCH_IMAGE,
        f"{payload.key} is no longer in {payload.bucket}; the index is about to hear of it.",
        "Nothing can bring it back but a new upload. POST /v1/images/{id}/retry makes the index look now.",
        image_status="gone",
    )


def changed(payload: PointPayload) -> Problem:
    """The problem of an object that was replaced, and the index does not know it yet."""
    return Problem(
        409,
        ProblemKind.ORIGINAL_CHANGED,
        f"{payload.key} was replaced in {payload.bucket} after it was indexed; it is about to be looked at again.",
        "Ask again in a moment. POST /v1/images/{id}/retry makes the index look now.",
    )
