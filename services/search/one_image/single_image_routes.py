"""`/v1/images/{id}/original` and `/thumbnail`: the picture itself, and a small one of it."""

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from schemas.collection import PointPayload, Status
from schemas.errors import SightlineError
from services.search.answers import json_response
from services.search.filters.options import each_once
from services.search.one_image.byte_ranges import Unsatisfiable, byte_range, has_already
from services.search.one_image.originals import Originals, changed, media_type, no_originals
from services.search.one_image.thumbnails import SIDES, Thumbnails, accepted
from services.search.openapi import schema_of
from services.search.problems import Problem, ProblemKind
from services.search.ranking.query import Searcher

PART_BYTES = 1024 * 1024
"""What is read of an original at a time; each part is of the very object, by its ETag."""

_SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
_ID = Path(alias="id", description="The id that searches and listings answer.")
_LINK = (
    "Answer the link as JSON instead of a redirect, which a web page's script may not follow to another origin with an "
    "API key; `link` is null where the bytes come from here."
)


class ThumbnailOptions(BaseModel):
    """Which thumbnail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(
        320, ge=SIDES[0], le=SIDES[-1], description=f"Pixels of the longer side, rounded up to one of {list(SIDES)}."
    )
    etag: str | None = Field(
        None,
        max_length=300,
        description="The image's `etag`: a browser then keeps the thumbnail for long, since another object has another "
        "address.",
    )


class OriginalLink(BaseModel):
    """Where an original can be read. `link` is null where it has none and its bytes come from this very service."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "link": "https://images.s3.eu-central-1.amazonaws.com/holiday/2024/beach.jpg?X-Amz-Expires=300&"
                "X-Amz-Signature=6b1f…",
                "seconds": 300,
            }
        }
    )

    link: str | None = Field(description="A link to the object that anyone may open, and that ends soon.")
    seconds: int | None = Field(description="The link ends after so many seconds; null where there is none.")


def single_image_router(searcher: Searcher, originals: Originals | None, thumbnails: Thumbnails | None) -> APIRouter:
    """The routes of one image's pictures; without originals they answer 404 and say so."""
    router = APIRouter(prefix="/v1/images", tags=["images"], dependencies=[Depends(each_once)])

    async def indexed(image: UUID) -> PointPayload:
        return (await searcher.one(image, status=Status.INDEXED, vector=False)).payload

    @router.get("/{id}/original", summary="The original", response_class=Response, responses=_ORIGINAL)
    @router.head("/{id}/original", include_in_schema=False)
    async def original(
        request: Request,
        image: Annotated[UUID, _ID],
        link: Annotated[bool, Query(description=_LINK, examples=[True])] = False,
    ) -> Response:
        """The object that was indexed: a redirect to a link that ends soon, or its bytes (with `Range` and `ETag`).

        With `link=true` that link as JSON. 409 while the bucket already has another object under this key, 404 when
        it is gone or the image was rejected.
        """
        payload = await indexed(image)
        if originals is None:
            raise no_originals("this service was given no access to them")
        size = (await originals.unchanged(payload)).facts.size
        found = await originals.link(payload)
        # The link is a key to the object, if only for minutes.
        headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        if link:
            told = json_response({"link": found, "seconds": None if found is None else originals.link_seconds})
            told.headers.update(headers)
            return told
        if found is not None:
            return RedirectResponse(found, 302, headers=headers)
        return await _streamed(request, originals, payload, size)

    @router.get("/{id}/thumbnail", summary="A small picture", response_class=Response, responses=_THUMBNAIL)
    @router.head("/{id}/thumbnail", include_in_schema=False)
    async def thumbnail(
        request: Request, image: Annotated[UUID, _ID], options: Annotated[ThumbnailOptions, Query()]
    ) -> Response:
        """A small picture: upright, in sRGB, WebP for whoever accepts it and JPEG for all others, never enlarged.

        It has nothing of the original's metadata. Images that were rejected or are gone have none.
        """
        payload = await indexed(image)
        if thumbnails is None:
            raise no_originals("this service was given no access to them, so it can draw no thumbnails")
        kind = accepted(request.headers.get("accept"))
        tag = f'"{thumbnails.tag(payload, options.size, kind)}"'
        lasting = options.etag is not None and options.etag == payload.etag
        headers = _SAFE | {
            "ETag": tag,
            "Vary": "Accept",
            "Cache-Control": "private, max-age=31536000, immutable" if lasting else "private, max-age=300",
        }
        if has_already(request.headers.get("if-none-match"), tag):
            return Response(status_code=304, headers=headers)
        made = await thumbnails.get(payload, options.size, kind)
        return Response(made.data, media_type=made.kind.media_type, headers=headers)

    return router


async def _streamed(request: Request, originals: Originals, payload: PointPayload, size: int) -> Response:
    media = media_type(payload)
    tag = f'"{payload.sha256 or hashlib.sha256((payload.etag or "").encode()).hexdigest()}"'
    headers = _SAFE | {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "bytes",
        "Content-Disposition": media.disposition,
    }
    if has_already(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    wanted = request.headers.get("range") if request.headers.get("if-range", tag) == tag else None
    try:
        chosen = byte_range(wanted, size)
    except Unsatisfiable:
        raise Problem(
            416,
            ProblemKind.BAD_PARAMETER,
            f"Range: the original has {size} bytes, and nothing where you ask.",
            "Ask for bytes below that.",
            headers={"Content-Range": f"bytes */{size}"},
        ) from None
    start, length = chosen or (0, size)
    headers["Content-Length"] = str(length)
    if chosen is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    status = 200 if chosen is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, media_type=media.content_type, headers=headers)
    # The first part is read before anything is answered, so that an error is still a proper one.
    first = await originals.part(payload, start, min(length, PART_BYTES))
    if first is None:
        raise changed(payload)
    parts = _parts(originals, payload, first, start, length)
    return StreamingResponse(parts, status, media_type=media.content_type, headers=headers)


async def _parts(
    originals: Originals, payload: PointPayload, first: bytes, start: int, length: int
) -> AsyncIterator[bytes]:
    yield first
    at, end = start + len(first), start + length
    while at < end:
        part = await originals.part(payload, at, min(PART_BYTES, end - at))
        if not part:
            # The answer has begun: all that is left is to break it off, short of the length that was announced.
            raise SightlineError(f"{payload.key} changed while it was read; ask again")
        yield part
        at += len(part)


_ORIGINAL: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bytes; with `link=true` where they are.",
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": schema_of(OriginalLink)},
        },
    },
    206: {"description": "The bytes of the range.", "content": {"image/*": {}}},
    302: {"description": "`Location` is a link to the object that ends after some minutes."},
    304: {"description": "You have it already, by `If-None-Match`."},
}
_THUMBNAIL: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture.",
        "content": {name: {"schema": {"type": "string", "format": "binary"}} for name in ("image/webp", "image/jpeg")},
    },
    304: {"description": "You have it already, by `If-None-Match`."},
}
