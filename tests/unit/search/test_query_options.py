"""Parameters that are read in one pass: read, refused and described as FastAPI would."""

import json
import re
from typing import Annotated
from urllib.parse import quote, urlencode

import httpx
import pytest
from fastapi import Depends, FastAPI, Query, Request, Response
from hypothesis import given, settings
from hypothesis import strategies as st

from services.search.answers import json_response
from services.search.filters.options import SearchOptions, WordSearchOptions, each_once
from services.search.filters.query_options import query_parameters, read_options
from services.search.problems import install_handlers
from tests.unit.search.conftest import client_of


def app_of_both() -> FastAPI:
    app = FastAPI(dependencies=[Depends(each_once)])
    install_handlers(app)

    @app.get("/theirs")
    async def theirs(options: Annotated[WordSearchOptions, Query()]) -> Response:
        return json_response(options.model_dump(mode="json"))

    @app.get("/ours", openapi_extra=query_parameters(WordSearchOptions))
    async def ours(request: Request) -> Response:
        return json_response(read_options(request, WordSearchOptions).model_dump(mode="json"))

    return app


APP = app_of_both()

VALUES = [
    "",
    " ",
    "0",
    "1",
    "-1",
    "0.5",
    "NaN",
    "true",
    "no",
    "cat",
    "a/b",
    "null",
    "2024-05-15",
    "newest_taken",
    "é%&=",
]
QUERIES = st.dictionaries(
    st.sampled_from([*WordSearchOptions.model_fields, "treshold", "Q"]), st.sampled_from(VALUES) | st.text(max_size=5)
)


async def both(query: str) -> list[tuple[int, bytes]]:
    async with client_of(APP) as client:
        return [
            (one.status_code, one.content)
            for one in [await client.get(f"/{name}?{query}") for name in ("theirs", "ours")]
        ]


@settings(deadline=None)
@given(QUERIES)
async def test_any_query_is_read_or_refused_as_fastapi_does(query: dict[str, str]) -> None:
    theirs, ours = await both(urlencode(query, errors="surrogatepass"))
    assert ours == theirs


@pytest.mark.parametrize(
    "query",
    [
        "q=a+red%20boat&limit=5&sort=newest_taken&fold=off&taken_after=2024-05-15T10:00:00+02:00",
        f"q=x&tag=cat&tag_score=0.5&filter={quote(json.dumps({'tag': 'dog'}))}",
        "q=x&limit=0&threshold=2&what=1",
        "q=x&q=y",
        "q=%ff",
        "",
    ],
)
async def test_these_queries_are_too(query: str) -> None:
    theirs, ours = await both(query)
    assert ours == theirs


async def test_parameters_are_described_as_fastapi_does_and_what_they_refer_to_is_there(
    client: httpx.AsyncClient,
) -> None:
    paths = APP.openapi()["paths"]
    assert paths["/ours"]["get"]["parameters"] == paths["/theirs"]["get"]["parameters"]
    openapi = await client.get("/openapi.json")
    described = openapi.json()["paths"]["/v1/search"]
    assert described["get"]["parameters"] == paths["/theirs"]["get"]["parameters"]
    assert len(described["post"]["parameters"]) == len(SearchOptions.model_fields)
    referred = set(re.findall(r'"#/components/schemas/([^"]+)"', openapi.text))
    assert referred <= set(openapi.json()["components"]["schemas"])
