"""`/v1/duplicates`: groups of images that are the same, or nearly."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from schemas.collection import PointPayload
from services.search.answers import json_response
from services.search.filters.options import each_once
from services.search.ranking.duplicates import DuplicateKind, Duplicates, Group


class DuplicateImage(BaseModel):
    """An image of a group. `score` is its cosine similarity with the first one."""

    id: UUID
    bucket: str
    key: str
    score: float
    payload: PointPayload


class DuplicateGroup(BaseModel):
    """Images in the order of their ids, two at least."""

    kind: DuplicateKind
    images: list[DuplicateImage]


class DuplicatesAnswer(BaseModel):
    """A page of groups."""

    groups: list[DuplicateGroup]
    next_cursor: str | None = Field(description="Null on the last page; a page before it may be short, or empty.")


class DuplicateOptions(BaseModel):
    """Which duplicates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: DuplicateKind = Field(
        DuplicateKind.EXACT,
        description="`exact`: the same bytes. `re-encoded`: the same picture at another size or quality, in the same "
        "proportions. `similar`: pictures that look much alike.",
    )
    limit: int = Field(20, ge=1, le=100, description="At most so many groups a page.")
    cursor: str | None = Field(
        None, max_length=1000, description="`next_cursor` of the page before, with the same kind."
    )


def duplicate_router(duplicates: Duplicates) -> APIRouter:
    """The route of duplicates."""
    router = APIRouter(prefix="/v1", tags=["images"], dependencies=[Depends(each_once)])

    @router.get("/duplicates", summary="Page through duplicates", response_model=DuplicatesAnswer)
    async def groups(options: Annotated[DuplicateOptions, Query()]) -> Response:
        """Groups of images that are the same, or nearly. No image is in two groups of a kind.

        A page is answered after some seconds however few groups it has: go on until `next_cursor` is null.
        """
        page = await duplicates.page(options.kind, limit=options.limit, cursor=options.cursor)
        return json_response({"groups": [_group_json(one) for one in page.groups], "next_cursor": page.cursor})

    return router


def _group_json(group: Group) -> dict[str, object]:
    images = [
        {
            "id": str(one.id),
            "bucket": one.payload.bucket,
            "key": one.payload.key,
            "score": one.score,
            "payload": one.payload,
        }
        for one in group.images
    ]
    return {"kind": group.kind.value, "images": images}
