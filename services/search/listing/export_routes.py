"""`/v1/export`: results, or all images that match, as a file that is streamed while it is read."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from services.search.collection import Collection
from services.search.filters.conditions import Conditions
from services.search.filters.options import Ranking, each_once
from services.search.limits import RANKING_DEPTH, SearchLimits
from services.search.listing.export import ExportFormat, Row, RowWriter, row_of, writer_of
from services.search.problems import bad_parameter
from services.search.ranking.examples import Example
from services.search.ranking.query import Searcher
from services.search.ranking.search_body import words
from stores.filters import Filter
from stores.vectors import VectorIndex

PAGE = 250
"""Images that are read and written at a time."""

RESULTS = 1_000
"""How many results are exported where no limit is given."""

_CSV_EXAMPLE = (
    "id,source,bucket,key,score,relevance,duplicates,tags,taken_at,...\r\n"
    '5d3bb3a4-6f0a-5d5e-9a52-1f5a3c0f1b52,s3,images,holiday/2024/beach.jpg,,,0,"{""beach"":0.8945}",'
    "2024-05-11T16:03:20Z,...\r\n"
)
_JSONL_EXAMPLE = (
    '{"id":"5d3bb3a4-6f0a-5d5e-9a52-1f5a3c0f1b52","source":"s3","bucket":"images","key":"holiday/2024/beach.jpg",'
    '"score":null,"relevance":null,"duplicates":0,"tags":[{"tag":"beach","score":0.8945}],"taken_at":"2024-05-11T16:03:20Z"}\n'
)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file, streamed.",
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": _CSV_EXAMPLE},
            "application/jsonl": {"schema": {"type": "string"}, "example": _JSONL_EXAMPLE},
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class ExportOptions(Ranking):
    """What is exported, and how."""

    format: ExportFormat = Field(description="The file's format.", examples=["csv"])
    q: str | None = Field(
        None, description="Only the best results for these words. Without it, all images that match, by id."
    )
    limit: int | None = Field(
        None,
        ge=1,
        description=f"At most so many images; with `q` {RESULTS:,} by default, {RANKING_DEPTH:,} at most.",
    )
    fold: bool = Field(False, description="With `q`: near-duplicates as one row, with their number.")

    def parts(self) -> tuple[Filter, ...]:
        """The conditions. `format` is none of them here: that of images goes into `filter`."""
        others = {name: getattr(self, name) for name in Conditions.model_fields if name != "format"}
        return Conditions.model_construct(**others).parts()


class Export:
    """Reads the images of an export from one index, page by page. While there is no collection yet, it has none."""

    def __init__(self, index: VectorIndex, collection: Collection, searcher: Searcher, limits: SearchLimits) -> None:
        self._index = index
        self._collection = collection
        self._searcher = searcher
        self._limits = limits

    def pages(self, options: ExportOptions) -> AsyncIterator[Sequence[Row]]:
        """The rows of all images that match, or of the best ones for the words.

        Raises `Problem` 422 for options that do not go together, and as `Searcher.search` does.
        """
        if options.q is None:
            for name in ("threshold", "good_only", "fold"):
                if name in options.model_fields_set:
                    raise bad_parameter(name, "it narrows down results; say with `q` what to look for")
            return self._all(options)
        if options.limit is not None and options.limit > RANKING_DEPTH:
            raise bad_parameter("limit", f"at most {RANKING_DEPTH} results are exported; all images without `q`")
        return self._results(Example(words("q", options.q, self._limits)), options)

    async def _results(self, example: Example, options: ExportOptions) -> AsyncIterator[Sequence[Row]]:
        ranked, judged = await self._searcher.best([example], options, limit=options.limit or RESULTS)
        for start in range(0, len(ranked), PAGE):
            found = await self._searcher.found(ranked[start : start + PAGE], judged)
            yield [row_of(one.id, one.payload, one.score, one.relevance, one.duplicates) for one in found]

    async def _all(self, options: ExportOptions) -> AsyncIterator[Sequence[Row]]:
        where, cursor, left = options.where(), None, options.limit
        while await self._collection.metadata() and left != 0:
            limit = PAGE if left is None else min(PAGE, left)
            page = await self._index.scroll(where, limit=limit, cursor=cursor)
            yield [row_of(point.id, point.payload) for point in page.points]
            cursor, left = page.cursor, None if left is None else left - len(page.points)
            if cursor is None:
                break


def export_router(export: Export) -> APIRouter:
    """The route of exports."""
    router = APIRouter(prefix="/v1", tags=["export"], dependencies=[Depends(each_once)])

    @router.get("/export", summary="Export images as a file", response_class=StreamingResponse, responses=_ANSWERS)
    async def answer(options: Annotated[ExportOptions, Query()]) -> Response:
        """The indexed images that match, or the best for the words `q`, as CSV, JSON Lines or Parquet.

        It is streamed, so it may be of any size. In CSV, tags are a JSON object in one cell, and a text that a
        spreadsheet would compute as a formula has an apostrophe before it; the other formats have it as it is.
        `format` is the file's format here; that of images goes into `filter`: `{"format": "jpeg"}`.
        """
        writer = writer_of(options.format)
        pages = export.pages(options)
        # What can go wrong mostly does so here, where it can still be told as a problem.
        first: Sequence[Row] = await anext(pages, [])
        return StreamingResponse(
            _bytes(writer, first, pages),
            media_type=options.format.media_type,
            headers={"Content-Disposition": f'attachment; filename="images.{options.format.value}"'},
        )

    return router


async def _bytes(writer: RowWriter, first: Sequence[Row], pages: AsyncIterator[Sequence[Row]]) -> AsyncIterator[bytes]:
    yield await asyncio.to_thread(writer.rows, first)
    async for page in pages:
        yield await asyncio.to_thread(writer.rows, page)
    yield await asyncio.to_thread(writer.end)
