"""`POST .../retry`: a hint that an object be looked at again, through the pipeline that every event takes.

Nothing is written here. The hint carries the stored version, so that the look that follows is later than what is
stored whatever the clocks say: also what was rejected is judged anew.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from runtime.batch import Publisher
from schemas.codec import encode
from schemas.collection import Status
from schemas.dead_letter import RejectReason
from schemas.errors import DependencyUnavailable
from schemas.events import BucketName, EventOrigin, ImageEvent, ObjectKey
from services.search.answers import json_response
from services.search.filters.options import each_once
from services.search.problems import Problem, ProblemKind, bad_parameter
from services.search.ranking.query import Searcher
from stores.vectors import StoredPoint, VectorIndex, Where

MOST = 1000
PUBLISH_SECONDS = 10.0
_PAGE = 500
_PAGES = 40


@dataclass(frozen=True)
class Hints:
    """Where hints go. `before` is told the keys first, for a folder watch that hints again at files still young."""

    publisher: Publisher
    before: Callable[[Sequence[str]], None] | None = None

    async def send(self, points: Sequence[StoredPoint]) -> None:
        """Return when all hints are acknowledged. Raises `DependencyUnavailable`, also when the pipeline is full."""
        now = datetime.now(UTC)
        if self.before is not None:
            self.before([point.payload.key for point in points])
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self.publisher.publish([encode(_event(point, now)) for point in points])
        except TimeoutError:
            raise DependencyUnavailable(
                "pipeline",
                f"it takes no more hints: {len(points)} were not all sent within {PUBLISH_SECONDS:g} s",
                "Wait until it has caught up; GET /v1/status says how much waits",
            ) from None


class RetryAnswer(BaseModel):
    """A hint that was sent. What becomes of it shows in the image's timeline."""

    id: UUID
    bucket: str
    key: str
    sent_at: AwareDatetime
    timeline: str = Field(examples=["/v1/images/5d3bb3a4-6f0a-5d5e-9a52-1f5a3c0f1b52/timeline"])


class RetriesAnswer(BaseModel):
    """Hints that were sent. Ask again with `cursor` set to `next_cursor` until that is null."""

    sent: int
    next_cursor: str | None


class RetryOptions(BaseModel):
    """Which rejected images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: RejectReason | None = Field(None, description="Only those that were rejected for this reason.")
    bucket: BucketName | None = Field(None, description="Only this bucket; for a folder, the folder's name.")
    prefix: ObjectKey | None = Field(None, description="Only keys that begin so. Case matters.")
    limit: int = Field(MOST, ge=1, le=MOST, description="At most so many hints.")
    cursor: str | None = Field(None, max_length=1000, description="`next_cursor` of the answer before.")


_SENT: dict[int | str, dict[str, Any]] = {
    503: {"description": "No pipeline can be reached from here, or it is away or full; `remedy` says what to do."}
}


def retry_router(searcher: Searcher, index: VectorIndex, hints: Hints | None) -> APIRouter:
    """The routes of retries; without a way to send hints they answer 503 and say what to configure."""
    router = APIRouter(prefix="/v1", tags=["operation"], dependencies=[Depends(each_once)], responses=_SENT)

    @router.post("/images/{id}/retry", summary="Look at one image again", status_code=202, response_model=RetryAnswer)
    async def retry(
        request: Request, image: Annotated[UUID, Path(alias="id", description="Of any status: also rejected or gone.")]
    ) -> Response:
        """Send a hint that the object be looked at again, whatever is known of it. The answer does not wait for it."""
        sender = _sender(hints)
        point = await searcher.one(image, status=None, vector=False)
        await sender.send([point])
        answer = RetryAnswer(
            id=image,
            bucket=point.payload.bucket,
            key=point.payload.key,
            sent_at=datetime.now(UTC),
            timeline=f"/v1/images/{image}/timeline",
        )
        return _accepted(answer)

    @router.post(
        "/failures/retry", summary="Look at rejected images again", status_code=202, response_model=RetriesAnswer
    )
    async def retry_failures(options: Annotated[RetryOptions, Query()]) -> Response:
        """Send hints at rejected images, a bounded number at a time: after an upgrade, or once a cause was mended."""
        sender = _sender(hints)
        points, cursor = await _rejected(index, options)
        if points:
            await sender.send(points)
        return _accepted(RetriesAnswer(sent=len(points), next_cursor=cursor))

    return router


async def _rejected(index: VectorIndex, options: RetryOptions) -> tuple[list[StoredPoint], str | None]:
    """Up to `limit` points, and where to go on. A page without a match costs little, so some are read at once."""
    if await index.metadata() is None:
        return [], None
    where = Where(status=Status.REJECTED, bucket=options.bucket, prefix=options.prefix)
    found: list[StoredPoint] = []
    cursor = options.cursor
    for _ in range(_PAGES):
        try:
            page = await index.scroll(where, limit=min(_PAGE, options.limit - len(found)), cursor=cursor)
        except ValueError:
            raise bad_parameter("cursor", "it is no cursor of this; leave it out to begin anew") from None
        found += [one for one in page.points if options.reason is None or one.payload.reason is options.reason]
        cursor = page.cursor
        if cursor is None or len(found) >= options.limit:
            break
    return found, cursor


def _event(point: StoredPoint, now: datetime) -> ImageEvent:
    payload = point.payload
    return ImageEvent(
        source=payload.source,
        bucket=payload.bucket,
        key=payload.key,
        # One that every release of the embedder knows.
        origin=EventOrigin.REDRIVE,
        after=payload.version,
        received_at=now,
    )


def _sender(hints: Hints | None) -> Hints:
    if hints is None:
        raise Problem(
            503,
            ProblemKind.CANNOT_RETRY,
            "This service is connected with no pipeline, so nobody would hear that an image is to be looked at.",
            "Set SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS for it, or use `sightline up`; `sightline reconcile SOURCE "
            "--retry-rejected` does the same for a whole bucket.",
        )
    return hints


def _accepted(answer: BaseModel) -> Response:
    response = json_response(answer.model_dump(mode="json"))
    response.status_code = 202
    return response
