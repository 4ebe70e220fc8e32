"""What operators and newcomers ask of the search service: metrics, status, the reference, a real socket."""

import asyncio
import re
from datetime import UTC, datetime
from typing import cast

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from cli.serving import index_status
from encoders.engine import EncoderEngine
from runtime.http import HttpServer
from runtime.probes import Probes
from services.search.answers import StatusAnswer
from services.search.api import create_app
from stores.qdrant_server import QdrantIndex
from stores.vectors import VectorIndex
from tests.unit.search.conftest import LIMITS, image_point, rejected
from tests.unit.search.fakes import FakeEngine


def requests(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "sightline_http_requests_total"
    }


async def test_searches_are_counted_from_0_before_anyone_searches(
    client: httpx.AsyncClient, registry: CollectorRegistry
) -> None:
    await client.get("/metrics")
    assert [requests(registry)["/v1/search", status] for status in ("2xx", "4xx", "5xx")] == [0, 0, 0]


async def test_requests_are_counted_by_route_template_and_class_of_status(
    client: httpx.AsyncClient, registry: CollectorRegistry, index: VectorIndex, engine: FakeEngine
) -> None:
    point = image_point("a.jpg")
    await index.write([point])
    await client.get("/v1/search?q=secret-words")
    await client.get("/v1/search?limit=0")
    await client.get(f"/v1/images/{point.id}")
    await client.get("/v1/images/00000000-0000-0000-0000-000000000000")
    await client.get("/v1/images")
    for path in ("/wp-admin", "/.env", "/v1/images/a/b/c"):
        await client.get(path)
    engine.failure = ZeroDivisionError()
    await client.get("/v1/search?q=x")
    assert requests(registry) == {
        ("/v1/search", "2xx"): 1,
        ("/v1/search", "4xx"): 1,
        ("/v1/search", "5xx"): 1,
        ("/v1/images/{id}", "2xx"): 1,
        ("/v1/images/{id}", "4xx"): 1,
        ("/v1/images", "2xx"): 1,
        ("(none)", "4xx"): 3,
    }
    metrics = (await client.get("/metrics")).text
    assert 'sightline_http_request_seconds_count{route="/v1/search"} 3.0' in metrics
    assert str(point.id) not in metrics


async def test_status_is_what_the_process_says_of_itself(index: VectorIndex, engine: FakeEngine) -> None:
    since = datetime(2024, 5, 15, tzinfo=UTC)
    await index.write([image_point("a.jpg"), image_point("b.jpg"), rejected("c.jpg")])

    async def status() -> StatusAnswer:
        return await index_status(index, cast("EncoderEngine", engine), runs=["search"], since=since, waiting=3)

    app = create_app(index, engine, probes=Probes(), registry=CollectorRegistry(), status=status)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://search") as client:
        answer = (await client.get("/v1/status")).json()
        assert (answer["indexed"], answer["rejected"], answer["gone"], answer["waiting"]) == (2, 1, 0, 3)
        assert answer["since"] == "2024-05-15T00:00:00Z"
        assert answer["runs"] == ["search"]


async def test_without_a_collection_nothing_is_counted(empty_index: QdrantIndex, engine: FakeEngine) -> None:
    found = await index_status(empty_index, cast("EncoderEngine", engine))
    assert (found.indexed, found.rejected, found.gone) == (0, 0, 0)


async def test_the_reference_names_every_path_and_parameter_and_loads_nothing_from_elsewhere(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    page = answer.text
    openapi = (await client.get("/openapi.json")).json()
    assert {"/v1/search", "/v1/images", "/v1/images/{id}", "/embed/texts", "/embed/image/base64", "/livez"} <= set(
        openapi["paths"]
    )
    for path, operations in openapi["paths"].items():
        assert path in page
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                assert f"<code>{parameter['name']}</code>" in page
    assert "<script" not in page
    assert not re.search(r"(src|href|action|url\(|@import)[\s='\"(]*(https?:)?//", page)
    assert "&quot;took_ms&quot;" in page


async def test_openapi_has_examples_of_answers_and_bodies(client: httpx.AsyncClient) -> None:
    openapi = (await client.get("/openapi.json")).json()
    schemas = openapi["components"]["schemas"]
    assert schemas["SearchAnswer"]["example"]["results"]
    assert schemas["ImagesAnswer"]["example"]["images"]
    post = openapi["paths"]["/v1/search"]["post"]["requestBody"]["content"]
    assert set(post) == {"application/json", "multipart/form-data"}
    names = {parameter["name"] for parameter in openapi["paths"]["/v1/search"]["get"]["parameters"]}
    assert names == {
        *("q", "limit", "cursor", "threshold", "sort", "good_only", "fold", "filter"),
        *("bucket", "prefix", "source", "camera", "format", "size_min", "size_max"),
        *("taken_after", "taken_before", "uploaded_after", "uploaded_before", "tag", "tag_score"),
    }


SEARCH_ROUTES = ["search", "images", "images/{id}", "tags", "facets", "statistics", "export"]


@pytest.mark.parametrize("route", SEARCH_ROUTES)
async def test_every_route_of_search_has_an_example_of_its_body_and_of_its_answer(
    client: httpx.AsyncClient, route: str
) -> None:
    openapi = (await client.get("/openapi.json")).json()

    def has_example(content: dict[str, dict[str, object]]) -> bool:
        schema: dict[str, object] = content.get("schema", {})
        named = openapi["components"]["schemas"].get(str(schema.get("$ref", "")).rpartition("/")[2], schema)
        # The bytes of a file are told by their type.
        return "example" in content or "examples" in content or "example" in named or schema.get("format") == "binary"

    for operation in openapi["paths"][f"/v1/{route}"].values():
        sent = operation.get("requestBody", {}).get("content", {})
        for content in (*sent.values(), *operation["responses"]["200"]["content"].values()):
            assert has_example(content)


async def test_over_a_real_socket_an_upload_far_too_large_still_gets_its_answer(app: FastAPI) -> None:
    async with HttpServer(app, "127.0.0.1", 0) as server, httpx.AsyncClient(base_url=server.address) as client:
        for _ in range(5):
            answer = await client.post("/v1/search", files={"image": bytes(LIMITS.image_bytes * 40)})
            assert answer.status_code == 413
            assert answer.json()["limit_bytes"] == LIMITS.image_body_bytes


async def test_a_client_that_hangs_up_in_the_middle_of_its_upload_does_no_harm(app: FastAPI) -> None:
    async with HttpServer(app, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
            b"Content-Length: 1000\r\n\r\n--B\r\n"
        )
        await writer.drain()
        writer.close()
        async with httpx.AsyncClient(base_url=server.address) as client:
            assert (await client.get("/v1/search?q=x")).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes_are_part_of_the_app(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code in (200, 503)
