"""`/api/search-by-image`: a shop's search by photo, in two steps: search, then show what was found under its id."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.search.answers import Result, json_bytes, json_response, results_json
from services.search.body import read_form_file, too_large_image
from services.search.filters.options import SearchOptions
from services.search.limits import SearchLimits
from services.search.problems import Problem, ProblemKind
from services.search.ranking.examples import Example, sent_image
from services.search.ranking.query import Searcher
from services.search.vectors.embed_answers import form_body

LEAST_COSINE = 0.3
MOST_RESULTS = 50
KEPT_SECONDS = 3600.0
"""How long what was found can be asked for."""
KEPT_SEARCHES = 1000
"""So many searches are kept at most: 50 results are some 50 kB."""

_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


class PhotoSearchAnswer(BaseModel):
    """That a search was made, under which id its results are, and how many there are."""

    model_config = ConfigDict(json_schema_extra={"example": {"success": True, "search_id": _ID, "count": 25}})

    success: Literal[True] = True
    search_id: UUID
    count: int = Field(le=MOST_RESULTS)


class PhotoResultsAnswer(PhotoSearchAnswer):
    """What a search found, best first."""

    model_config = ConfigDict(json_schema_extra={"example": None})

    results: list[Result]


class KeptSearches:
    """What searches found, as JSON, for a while: the newest `most`, each for `seconds`."""

    def __init__(
        self,
        *,
        most: int = KEPT_SEARCHES,
        seconds: float = KEPT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[UUID, tuple[float, bytes]] = OrderedDict()

    def keep(self, search: UUID, found: bytes) -> None:
        """Keep what a search found, and forget what is too old or too much."""
        now = self._clock()
        self._kept[search] = (now + self._seconds, found)
        self._kept.move_to_end(search)
        while len(self._kept) > self._most or next(iter(self._kept.values()))[0] <= now:
            self._kept.popitem(last=False)

    def get(self, search: UUID) -> bytes | None:
        """What was kept; None where it never was, or is not any more."""
        until, found = self._kept.get(search, (0.0, b""))
        return found if found and self._clock() < until else None


def photo_search_router(searcher: Searcher, limits: SearchLimits, kept: KeptSearches | None = None) -> APIRouter:
    """The routes of the search by photo. What is found is kept in this process alone."""
    router = APIRouter(prefix="/api", tags=["search"])
    searches = kept or KeptSearches()
    # Every image counts for itself: a shop has several pictures of one product.
    options = SearchOptions(limit=MOST_RESULTS, threshold=LEAST_COSINE, fold=False)

    @router.post(
        "/search-by-image",
        summary="Search by a photo, and keep what was found",
        response_model=PhotoSearchAnswer,
        openapi_extra=form_body("image", also=" The field may be called `photo` or `file` too."),
    )
    async def search_by_image(request: Request) -> Response:
        """The images whose cosine similarity with the photo is at least 0.3, at most 50, near-duplicates too.

        Ask with GET /api/search-results/{search_id} for what was found.
        """
        file = await read_form_file(request, "image", limits.image_body_bytes, also=("photo", "file"), strict=False)
        if len(file.data) > limits.image_bytes:
            raise too_large_image(limits)
        photo = Example(await sent_image(file.data, file.name), path="image")
        found = (await searcher.search([photo], options)).found
        search = uuid4()
        answer: dict[str, Any] = {"success": True, "search_id": str(search), "count": len(found)}
        searches.keep(search, json_bytes(answer | {"results": results_json(found)}))
        return json_response(answer)

    @router.get(
        "/search-results/{search_id}", summary="What a search by a photo found", response_model=PhotoResultsAnswer
    )
    async def search_results(
        search: Annotated[UUID, Path(alias="search_id", description="As POST /api/search-by-image answered it.")],
    ) -> Response:
        """What was found, best first, for an hour."""
        found = searches.get(search)
        if found is None:
            raise Problem(
                404,
                ProblemKind.NO_SUCH_SEARCH,
                f"No search has the id {search}: there never was one here, or it was too long ago.",
                "Search by the photo again; what is found is kept for an hour, by the process that searched.",
            )
        return Response(found, media_type="application/json")

    return router
