"""The client for asynchronous programs: `Sightline` with `await`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar
from uuid import UUID

import httpx
from pydantic import BaseModel

from sightline_client import requests
from sightline_client.answers import (
    DuplicateGroup,
    DuplicatesPage,
    Embedding,
    Embeddings,
    FacetValue,
    FacetValues,
    Image,
    ImagesPage,
    Result,
    SearchPage,
    Statistic,
    Status,
    TagCount,
    TagCounts,
    Timeline,
)
from sightline_client.connection import arguments_of, headers_of, unreachable
from sightline_client.errors import problem_of
from sightline_client.filters import Filter
from sightline_client.patience import Patience
from sightline_client.questions import Question
from sightline_client.requests import Asked, Call

A = TypeVar("A", bound=BaseModel)


class AsyncSightline:
    """A Sightline service. Every method raises `ProblemError` for a refusal and `SightlineUnreachable`.

    Requests that the service is too busy for are sent again as it asks, see `Patience`. An `httpx.AsyncClient` that
    is given is used as it is, and not closed.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        patience: Patience = Patience(),
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self._own = client is None
        self._client = client or httpx.AsyncClient(base_url=url, timeout=timeout)
        self._headers = headers_of(api_key)
        self._patience = patience

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._own:
            await self._client.aclose()

    async def search_page(
        self,
        question: Asked = None,
        *,
        like: Sequence[str | Question] = (),
        unlike: Sequence[str | Question] = (),
        only: Filter | None = None,
        limit: int = 20,
        threshold: float | None = None,
        sort: str = "relevance",
        good_only: bool = False,
        fold: bool = True,
        cursor: str | None = None,
    ) -> SearchPage:
        """One page of results for words (a text), a picture, an indexed image, or several examples.

        Raises `ValueError` when there is nothing to search for.
        """
        call = requests.search(
            question,
            like=like,
            unlike=unlike,
            only=only,
            limit=limit,
            threshold=threshold,
            sort=sort,
            good_only=good_only,
            fold=fold,
        )
        return await self._ask(call.at(cursor), SearchPage)

    async def search(
        self,
        question: Asked = None,
        *,
        like: Sequence[str | Question] = (),
        unlike: Sequence[str | Question] = (),
        only: Filter | None = None,
        threshold: float | None = None,
        sort: str = "relevance",
        good_only: bool = False,
        fold: bool = True,
        page: int = 100,
    ) -> AsyncIterator[Result]:
        """All results, asked for page by page as they are taken."""
        cursor: str | None = None
        while True:
            found = await self.search_page(
                question,
                like=like,
                unlike=unlike,
                only=only,
                limit=page,
                threshold=threshold,
                sort=sort,
                good_only=good_only,
                fold=fold,
                cursor=cursor,
            )
            for one in found.results:
                yield one
            cursor = found.next_cursor
            if cursor is None:
                return

    async def images(
        self, *, only: Filter | None = None, status: str = "indexed", sort: str = "id", page: int = 100
    ) -> AsyncIterator[Image]:
        """All images that match, asked for page by page as they are taken."""
        call = requests.images(only=only, status=status, sort=sort, limit=page)
        cursor: str | None = None
        while True:
            found = await self._ask(call.at(cursor), ImagesPage)
            for one in found.images:
                yield one
            cursor = found.next_cursor
            if cursor is None:
                return

    async def image(self, image: UUID, *, vector: bool = False) -> Image:
        """One image of any status."""
        return await self._ask(requests.image(image, vector=vector), Image)

    async def timeline(self, image: UUID) -> Timeline:
        """Why an image is found, or not."""
        return await self._ask(requests.timeline(image), Timeline)

    async def original(self, image: UUID) -> bytes:
        """The bytes of an image, as they are in the bucket."""
        return (await self._send(requests.original(image))).content

    async def thumbnail(self, image: UUID, *, size: int = 320) -> bytes:
        """A small picture of an image, `size` pixels on its longer side."""
        return (await self._send(requests.thumbnail(image, size))).content

    async def retry(self, image: UUID) -> None:
        """Have an image looked at again. Needs the scope admin."""
        await self._send(requests.retry(image))

    async def tags(self, *, only: Filter | None = None, limit: int = 1000) -> Sequence[TagCount]:
        """How many images have each tag, the most frequent first; the service tells at most 1,000."""
        return (await self._ask(requests.tags(only, limit), TagCounts)).tags

    async def facets(
        self,
        field: Literal["bucket", "camera", "format", "tag", "reason", "status"],
        *,
        only: Filter | None = None,
        limit: int = 1000,
    ) -> Sequence[FacetValue]:
        """How many images have each value of a field, the most frequent first; the service tells at most 1,000."""
        return (await self._ask(requests.facets(field, only, limit), FacetValues)).values

    async def statistics(
        self,
        per: Literal["day", "month", "year", "bucket", "camera"],
        *,
        date: Literal["taken", "uploaded"] = "taken",
        only: Filter | None = None,
    ) -> Sequence[Statistic]:
        """How many images there are per day, month, year, bucket or camera."""
        answer = (await self._send(requests.statistics(per, date, only))).json()
        return [Statistic.read(row) for row in answer["rows"]]

    async def duplicates(
        self, kind: Literal["exact", "re-encoded", "similar"] = "exact", *, page: int = 50
    ) -> AsyncIterator[DuplicateGroup]:
        """All groups of a kind, asked for page by page as they are taken."""
        call = requests.duplicates(kind, page)
        cursor: str | None = None
        while True:
            found = await self._ask(call.at(cursor), DuplicatesPage)
            for one in found.groups:
                yield one
            cursor = found.next_cursor
            if cursor is None:
                return

    async def export(
        self,
        to: Path | str,
        *,
        format: Literal["csv", "jsonl", "parquet"] = "csv",  # noqa: A002 - the word of the API
        words: str | None = None,
        limit: int | None = None,
        only: Filter | None = None,
    ) -> int:
        """Write results for words, or all that match, to a file; answer its bytes. Raises `OSError`."""
        written = 0
        async with self._streamed(requests.export(format, words, limit, only)) as response:
            file = await asyncio.to_thread(Path(to).open, "wb")
            try:
                async for chunk in response.aiter_bytes():
                    written += await asyncio.to_thread(file.write, chunk)
            finally:
                await asyncio.to_thread(file.close)
        return written

    async def status(self) -> Status:
        """What runs, since when, and how much is indexed."""
        return await self._ask(requests.status(), Status)

    async def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """A unit vector for each text, in order, and whose they are."""
        return await self._ask(requests.embed_texts(texts), Embeddings)

    async def embed_image(self, image: bytes | Path | str) -> Embedding:
        """The unit vector of an image, given by its bytes or its file, and whose it is. Raises `OSError`."""
        if isinstance(image, bytes):
            call = requests.embed_image(image, "image")
        else:
            call = requests.embed_image(await asyncio.to_thread(Path(image).read_bytes), Path(image).name)
        return await self._ask(call, Embedding)

    async def _ask(self, call: Call, answer: type[A]) -> A:
        return answer.model_validate_json((await self._send(call)).content)

    async def _send(self, call: Call, *, stream: bool = False) -> httpx.Response:
        """A good answer; of a streamed one the body is yet to be read, and it must be closed."""
        attempt = 1
        while True:
            request = self._client.build_request(call.method, call.path, headers=self._headers, **arguments_of(call))
            try:
                response = await self._client.send(request, stream=stream, follow_redirects=True)
                if response.is_success:
                    return response
                await response.aread()
            except httpx.HTTPError as error:
                raise unreachable(self._client.base_url, error) from error
            wait = self._patience.wait(response, attempt)
            if wait is None:
                raise problem_of(response)
            await asyncio.sleep(wait)
            attempt += 1

    @asynccontextmanager
    async def _streamed(self, call: Call) -> AsyncIterator[httpx.Response]:
        response = await self._send(call, stream=True)
        try:
            yield response
        except httpx.HTTPError as error:
            raise unreachable(self._client.base_url, error) from error
        finally:
            await response.aclose()
