"""`/v1/images/{id}/timeline` and `/v1/explain`: why is my photo found, or not?"""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from schemas.collection import PointPayload
from schemas.events import BucketName, ObjectKey, SourceName, point_id
from services.search.answers import json_response
from services.search.embedding import EmbeddingEngine
from services.search.filters.options import each_once
from services.search.one_image.circumstances import Subject
from services.search.one_image.explanation import Explainer, Timeline
from services.search.problems import Problem, ProblemKind, bad_parameter
from services.search.ranking.query import Searcher
from stores.vectors import VectorIndex, Where

SOURCES = ("folder", "s3")
_PAGES = 5


class ExplainOptions(BaseModel):
    """Which object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: ObjectKey = Field(
        description="As in the bucket; for a folder, below its root.", examples=["holiday/2024/beach.jpg"]
    )
    bucket: BucketName | None = Field(
        None, description="May be left out where only one is meant; for a folder, the folder's name."
    )
    source: SourceName | None = Field(None, description='Only this kind of store: "s3" or "folder".')


def explain_router(searcher: Searcher, index: VectorIndex, engine: EmbeddingEngine, explainer: Explainer) -> APIRouter:
    """The routes of explanations."""
    router = APIRouter(prefix="/v1", tags=["images"], dependencies=[Depends(each_once)])

    async def answer(subject: Subject) -> Response:
        timeline = await explainer.explain(subject, engine.encoder.identity)
        return json_response(timeline.model_dump(mode="json"))

    @router.get("/images/{id}/timeline", summary="What happened to an image", response_model=Timeline)
    async def timeline(
        image: Annotated[UUID, Path(alias="id", description="Of any status: also rejected or gone.")],
    ) -> Response:
        """Uploaded, noticed, looked at, embedded, indexed, rejected or gone, each with its time; what the store says
        now; whether the rules let it in; dead letters about it; and a conclusion with what to do.
        """
        payload = (await searcher.one(image, status=None, vector=False)).payload
        return await answer(Subject(payload.source, payload.bucket, payload.key, payload))

    @router.get("/explain", summary="Why is my photo (not) found?", response_model=Timeline)
    async def explain(options: Annotated[ExplainOptions, Query()]) -> Response:
        """The same as an image's timeline, by its key, also for keys that the index does not know."""
        return await answer(await _subject(index, explainer, options))

    return router


async def _subject(index: VectorIndex, explainer: Explainer, options: ExplainOptions) -> Subject:
    """The object that is meant. Raises `Problem` 422 where several are, or where nobody can tell the bucket."""
    known = await index.metadata() is not None
    stored = await _stored(index, explainer, options) if known else []
    if len(stored) > 1:
        buckets = ", ".join(sorted(f"{one.source}://{one.bucket}" for one in stored))
        raise bad_parameter("bucket", f"{options.key} is known in several: {buckets}; name one, and `source` if needed")
    if stored:
        payload = stored[0]
        return Subject(payload.source, payload.bucket, payload.key, payload)
    places = [
        (source, bucket)
        for source, bucket in explainer.places
        if options.source in (None, source) and options.bucket in (None, bucket)
    ]
    if len(places) == 1:
        return Subject(*places[0], options.key)
    if options.bucket is None:
        raise bad_parameter("bucket", f"{options.key} is not in the index, so the bucket has to be named")
    for source in SOURCES if options.source is None else (options.source,):
        # Not every bucket that the credentials open may be asked about: only those that were let in here once.
        if known and await index.count(Where(status=None, source=source, bucket=options.bucket)):
            return Subject(source, options.bucket, options.key)
    for source in SOURCES if options.source is None else (options.source,):
        if explainer.refuses(source, options.bucket, options.key):
            return Subject(source, options.bucket, options.key)
    raise Problem(
        404,
        ProblemKind.NO_SUCH_IMAGE,
        f"Nothing of {options.bucket} is in the index, and this service does not follow it.",
        "Compare the bucket's name; for a folder it is the folder's name. Index it with `sightline up` or "
        "`sightline reconcile`.",
    )


async def _stored(index: VectorIndex, explainer: Explainer, options: ExplainOptions) -> list[PointPayload]:
    sources = SOURCES if options.source is None else (options.source,)
    if options.bucket is not None:
        ids = [point_id(source, options.bucket, options.key) for source in sources]
        return [point.payload for point in await index.get(ids)]
    # Beside many keys that begin like this one it may lie too far behind to be read: first where it should be.
    ids = [point_id(source, bucket, options.key) for source, bucket in explainer.places if source in sources]
    found = {point.id: point.payload for point in (await index.get(ids) if ids else ())}
    cursor: str | None = None
    where = Where(status=None, prefix=options.key, source=options.source)
    for _ in range(_PAGES):
        page = await index.scroll(where, limit=1000, cursor=cursor)
        found |= {point.id: point.payload for point in page.points if point.payload.key == options.key}
        cursor = page.cursor
        if cursor is None:
            break
    return list(found.values())
