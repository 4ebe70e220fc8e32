"""`/v1/search`: by words, by an image's bytes, by the id of an indexed image."""

import time
from collections.abc import Awaitable, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.search.answers import SearchAnswer, json_response, results_json
from services.search.body import read_form_file, read_json
from services.search.limits import SearchLimits
from services.search.options import SearchOptions, WordSearchOptions, each_once
from services.search.problems import Problem, ProblemKind, bad_parameter
from services.search.query import Searcher
from stores.vectors import Hit


class SearchBody(BaseModel):
    """What to search for: words, or an indexed image whose like is wanted. Exactly one of the two."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"text": "a red bicycle in the rain"}})

    text: str | None = Field(None, description="Words.")
    id: UUID | None = Field(None, description="The id of an indexed image; it is left out of the results itself.")

    @model_validator(mode="after")
    def _exactly_one(self) -> "SearchBody":
        if (self.text is None) == (self.id is None):
            raise ValueError('send either {"text": "words"} or {"id": "an image\'s id"}, not both and not neither')
        return self


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": SearchBody.model_json_schema(),
                "examples": {
                    "words": {"value": {"text": "a red bicycle in the rain"}},
                    "more like this": {"value": {"id": "5d3bb3a4-6f0a-5d5e-9a52-1f5a3c0f1b52"}},
                },
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {
                            "type": "string",
                            "format": "binary",
                            "description": "The bytes of an image; its content type is ignored, and its file name "
                            "too, unless the model reads names.",
                        }
                    },
                }
            },
        },
    }
}


def search_router(searcher: Searcher, limits: SearchLimits) -> APIRouter:
    """The routes of search."""
    router = APIRouter(prefix="/v1", tags=["search"], dependencies=[Depends(each_once)])

    @router.get("/search", summary="Search by words", response_model=SearchAnswer)
    async def search_by_words(options: Annotated[WordSearchOptions, Query()]) -> Response:
        """The indexed images that fit the words, best first."""
        return await _answer(searcher.by_text(_words("q", options.q, limits), options))

    @router.post(
        "/search",
        summary="Search by words, by an image, or by the id of an indexed image",
        response_model=SearchAnswer,
        openapi_extra=_BODY,
    )
    async def search(request: Request, options: Annotated[SearchOptions, Query()]) -> Response:
        """The indexed images that fit, best first. Options are query parameters whatever the body is.

        JSON `{"text": ...}` or `{"id": ...}`, or a multipart form with the field `image`.
        An image that is searched for by its id is left out of its own results.
        """
        started = time.perf_counter()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            body = await read_json(request, SearchBody, limits.json_bytes)
            if body.id is not None:
                return await _answer(searcher.by_id(body.id, options), started)
            return await _answer(searcher.by_text(_words("text", body.text or "", limits), options), started)
        if kind == "multipart/form-data":
            file = await read_form_file(request, "image", limits.image_body_bytes)
            if len(file.data) > limits.image_bytes:
                raise too_large_image(limits)
            return await _answer(searcher.by_image(file.data, options, name=file.name), started)
        raise Problem(
            415,
            ProblemKind.UNSUPPORTED_BODY,
            f"A body of type {kind[:60] or '(none given)'} is not understood.",
            'Send JSON with `Content-Type: application/json`, such as {"text": "words"} or {"id": "..."}, '
            "or a multipart form with the field `image`, like `curl -F image=@photo.jpg`.",
        )

    return router


def too_large_image(limits: SearchLimits) -> Problem:
    """The problem of an image beyond the limit, in a body that is not."""
    return Problem(
        413,
        ProblemKind.BODY_TOO_LARGE,
        f"The image is larger than {limits.image_bytes} bytes.",
        "Send a smaller version of it: models look at a few hundred pixels.",
        limit_bytes=limits.image_bytes,
    )


async def _answer(search: Awaitable[Sequence[Hit]], started: float | None = None) -> Response:
    started = time.perf_counter() if started is None else started
    hits = await search
    took_ms = (time.perf_counter() - started) * 1000
    return json_response({"results": results_json(hits), "took_ms": round(took_ms, 2)})


def _words(field: str, text: str, limits: SearchLimits) -> str:
    words = text.strip()
    if not words:
        raise bad_parameter(field, "it is empty; write what to look for, in words")
    if len(words) > limits.text_characters:
        raise bad_parameter(field, f"it has {len(words)} characters; at most {limits.text_characters} are read")
    return words
