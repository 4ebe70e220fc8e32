"""Thumbnails of indexed images: made when somebody first asks, once for all who ask at that time, and kept on disk."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from imaging.formats import BadImage
from imaging.room import PixelRoom
from imaging.thumbnails import ThumbnailFormat, make_thumbnail
from schemas.collection import PointPayload
from services.search.one_image.originals import Originals, changed
from services.search.one_image.thumbnail_files import ThumbnailFiles
from services.search.problems import Problem, ProblemKind
from stores.threads import DaemonThreads

P = ParamSpec("P")
T = TypeVar("T")

SIDES = (64, 128, 320, 640, 1024)
"""The sides that are made, in pixels; what is asked for is rounded up to one, so that few are made and kept."""

MADE_BY = "1"
"""Part of every name: raise it when thumbnails come out differently."""


@dataclass(frozen=True)
class Thumbnail:
    """An encoded picture. `tag` is strong: equal tags, equal bytes."""

    data: bytes
    kind: ThumbnailFormat
    tag: str


class Thumbnails:
    """Makes and keeps thumbnails. `at_once` are made at a time, of `max_pixels` pixels together at most.

    `files` None keeps none. The bytes that are drawn are those that were indexed: by ETag, and by SHA-256 where the
    index knows it.
    """

    def __init__(
        self, originals: Originals, files: ThumbnailFiles | None, *, max_pixels: int, at_once: int = 2
    ) -> None:
        self._originals = originals
        self._files = files
        self._max_pixels = max_pixels
        self._room = PixelRoom(max_pixels)
        # Bytes are held from the look to the drawing, so both count.
        self._hands = asyncio.Semaphore(at_once)
        self._drawing = DaemonThreads(at_once, "thumbnails")
        self._reading = DaemonThreads(4, "thumbnail-files")
        self._under_way: dict[str, asyncio.Task[bytes]] = {}

    def tag(self, payload: PointPayload, side: int, kind: ThumbnailFormat) -> str:
        """The strong entity tag, without quotes, of the thumbnail that `get` answers; needs no thumbnail."""
        content = (
            payload.sha256
            or hashlib.sha256(f"{payload.source}://{payload.bucket}/{payload.key}#{payload.etag}".encode()).hexdigest()
        )
        return f"{content}-{step(side)}-{MADE_BY}.{kind.value}"

    async def get(self, payload: PointPayload, side: int, kind: ThumbnailFormat) -> Thumbnail:
        """The thumbnail of an indexed image. Raises `Problem` 404 or 409 saying why there is none."""
        tag = self.tag(payload, side, kind)
        if self._files is not None and (kept := await self._run(self._reading, self._files.get, tag)) is not None:
            return Thumbnail(kept, kind, tag)
        task = self._under_way.get(tag)
        if task is None:
            task = asyncio.create_task(self._make(payload, step(side), kind, tag))
            self._under_way[tag] = task
            task.add_done_callback(lambda done: self._finished(tag, done))
        # Shielded: whoever hangs up does not take it from the others.
        return Thumbnail(await asyncio.shield(task), kind, tag)

    async def _make(self, payload: PointPayload, side: int, kind: ThumbnailFormat, tag: str) -> bytes:
        async with self._hands:
            original = await self._originals.bytes_of(payload)
            data = await self._run(self._drawing, self._draw, payload, original, side, kind)
        if self._files is not None:
            await self._run(self._reading, self._files.put, tag, data)
        return data

    def _draw(self, payload: PointPayload, original: bytes, side: int, kind: ThumbnailFormat) -> bytes:
        if payload.sha256 is not None and hashlib.sha256(original).hexdigest() != payload.sha256:
            raise changed(payload)
        try:
            return make_thumbnail(original, side, kind, max_pixels=self._max_pixels, room=self._room)
        except BadImage as error:
            raise Problem(
                404,
                ProblemKind.NO_THUMBNAIL,
                f"No picture can be drawn of {payload.key}: {error.detail}.",
                "GET /v1/images/{id}/original has the file itself.",
                reason=error.reason.value,
            ) from None

    def _finished(self, tag: str, task: "asyncio.Task[bytes]") -> None:
        del self._under_way[tag]
        if not task.cancelled():
            task.exception()  # seen, even if everybody who waited has left

    @staticmethod
    async def _run(threads: DaemonThreads, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, lambda: work(*args, **kwargs))


def step(side: int) -> int:
    """The side that is made for one that is asked for."""
    return next((one for one in SIDES if one >= side), SIDES[-1])


def accepted(accept: str | None) -> ThumbnailFormat:
    """WebP for whoever names it in `Accept`, as browsers do; JPEG for all others."""
    for part in (accept or "").split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        if name == "image/webp":
            weights = [word.removeprefix("q=") for word in parameters if word.startswith("q=")]
            return ThumbnailFormat.JPEG if weights and not weights[0].strip("0.") else ThumbnailFormat.WEBP
    return ThumbnailFormat.JPEG
