"""`/v1/search`: by words, images, URLs, ids of indexed images, and several of them at once."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from services.search.access import caller_of
from services.search.answers import SearchAnswer, json_response, results_json
from services.search.body import read_form, read_json
from services.search.filters.filter_json import filter_of, filter_of_text
from services.search.filters.options import SearchOptions, WordSearchOptions, each_once
from services.search.filters.query_options import query_parameters, read_options
from services.search.limits import SearchLimits
from services.search.openapi import json_content
from services.search.problems import Problem, ProblemKind
from services.search.ranking.examples import Example, LinkedImage
from services.search.ranking.query import Searcher
from services.search.ranking.search_body import SEARCH_BODY_EXAMPLES, SearchBody, examples_of_form, words
from services.search.together import while_connected
from stores.filters import Filter

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": json_content(SearchBody, SEARCH_BODY_EXAMPLES),
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "example": {"image": "(the bytes of photo.jpg)", "text": "at dusk", "filter": '{"tag": "beach"}'},
                    "properties": {
                        "image": {
                            "type": "string",
                            "format": "binary",
                            "description": "The bytes of an image; its content type is ignored, and its file name "
                            "too, unless the model reads names.",
                        },
                        "text": {"type": "string", "description": "Words that count as much as the image."},
                        "filter": {"type": "string", "description": "Which images, as JSON."},
                    },
                }
            },
        },
    }
}


def search_router(searcher: Searcher, limits: SearchLimits) -> APIRouter:
    """The routes of search."""
    router = APIRouter(prefix="/v1", tags=["search"], dependencies=[Depends(each_once)])

    async def answer(
        started: float,
        examples: Sequence[Example],
        options: SearchOptions,
        *conditions: Filter,
        caller: str | None = None,
    ) -> Response:
        results = await searcher.search(examples, options, *conditions, caller=caller)
        body = {"results": results_json(results.found), "next_cursor": results.next_cursor}
        took_ms = (time.perf_counter() - started) * 1000
        return json_response(body | {"took_ms": round(took_ms, 2), "steps_ms": dict(results.steps_ms)})

    @router.get(
        "/search",
        summary="Search by words",
        response_model=SearchAnswer,
        openapi_extra=query_parameters(WordSearchOptions),
    )
    async def search_by_words(request: Request) -> Response:
        """The indexed images that fit the words, best first.

        Ask again with `cursor` set to `next_cursor` for more: an image that is there from the first page to the last
        is answered exactly once, whatever else is indexed or removed meanwhile.
        """
        started, options = time.perf_counter(), read_options(request, WordSearchOptions)
        return await answer(started, [Example(words("q", options.q, limits))], options)

    @router.post(
        "/search",
        summary="Search by words, images, URLs and indexed images, liked or unliked",
        response_model=SearchAnswer,
        openapi_extra=_BODY,
    )
    async def search(request: Request, options: Annotated[SearchOptions, Query()]) -> Response:
        """The indexed images that fit, best first. Options are query parameters whatever the body is.

        JSON with one of `text`, `id`, `url`, `image_base64`, or with `like` and `unlike` for several at once; or a
        multipart form with the field `image`, and `text` beside it if wanted. Indexed images that are searched for
        are left out of the results.

        Several examples become one vector: the sum of the liked ones' unit vectors, each times its `weight` (1 by
        default), minus that of the unliked ones, brought to unit length: `(Σ w·like - Σ w·unlike) / |...|`. `score`
        is the cosine with it. Examples that cancel each other out are refused.
        """
        started = time.perf_counter()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            body = await read_json(request, SearchBody, limits.base64_body_bytes)
            conditions = () if body.filter is None else (filter_of(body.filter),)
            examples = await body.examples(limits)
            found = answer(started, examples, options, *conditions, caller=caller_of(request).name)
            if any(isinstance(one.subject, LinkedImage) for one in examples):
                return await while_connected(request, found)  # it may wait for half a minute
            return await found
        if kind == "multipart/form-data":
            form = await read_form(request, "image", limits.image_body_bytes, texts=("text", "filter"))
            conditions = (filter_of_text(form.texts["filter"]),) if "filter" in form.texts else ()
            return await answer(started, await examples_of_form(form, limits), options, *conditions)
        raise Problem(
            415,
            ProblemKind.UNSUPPORTED_BODY,
            f"A body of type {kind[:60] or '(none given)'} is not understood.",
            'Send JSON with `Content-Type: application/json`, such as {"text": "words"} or {"id": "..."}, '
            "or a multipart form with the field `image`, like `curl -F image=@photo.jpg`.",
        )

    return router
