"""`/v1/images`: what is indexed, page by page, and one image by its id."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response

from services.search.answers import ImageAnswer, ImagesAnswer, image_json, json_response, page_json
from services.search.filters.options import ImageOptions, ListOptions, each_once
from services.search.listing.listing import Listing
from services.search.ranking.query import Searcher


def image_router(searcher: Searcher, listing: Listing) -> APIRouter:
    """The routes of images."""
    router = APIRouter(prefix="/v1/images", tags=["images"], dependencies=[Depends(each_once)])

    @router.get("", summary="Page through all images", response_model=ImagesAnswer)
    async def images(options: Annotated[ListOptions, Query()]) -> Response:
        """All images in the order of their ids, or by a date. Ask again with `cursor` set to `next_cursor` until that
        is null.

        An image that is there from the first page to the last is answered exactly once, whatever else changes.
        """
        return json_response(page_json(await listing.page(options)))

    @router.get("/{id}", summary="One image", response_model=ImageAnswer, response_model_exclude_unset=True)
    async def image(
        image: Annotated[UUID, Path(alias="id", description="The id that searches and listings answer.")],
        options: Annotated[ImageOptions, Query()],
    ) -> Response:
        """An indexed image. For one that was rejected or is gone the 404 says so; `status` answers it anyway."""
        point = await searcher.one(image, status=options.status.status, vector=options.vector)
        return json_response(image_json(point))

    return router
