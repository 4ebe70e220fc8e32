"""Paging through what is indexed, and one image by its id."""

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from runtime.probes import Probes
from schemas.collection import Status
from services.search.api import create_app
from stores.qdrant_server import QdrantIndex
from stores.vectors import VectorIndex
from tests.unit.search.conftest import client_of, image_point, rejected
from tests.unit.search.fakes import FakeEngine, unit_vector


async def pages(client: httpx.AsyncClient, **parameters: str | int) -> list[list[dict[str, object]]]:
    found: list[list[dict[str, object]]] = []
    cursor = None
    while True:
        asked = dict(parameters) | ({"cursor": cursor} if cursor else {})
        answer = await client.get("/v1/images", params=asked)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert set(body) == {"images", "next_cursor"}
        found.append(body["images"])
        cursor = body["next_cursor"]
        if cursor is None:
            return found


async def test_paging_through_2500_images_loses_none_and_repeats_none(
    client: httpx.AsyncClient, index: VectorIndex
) -> None:
    expected = {f"d{n % 7}/{n}.jpg" for n in range(2500)}
    await index.write([image_point(key) for key in expected])
    await index.write([rejected(f"bad{n}.jpg") for n in range(50)])
    for limit, count in ((None, 25), (1000, 3), (999, 3), (500, 5)):
        found = await pages(client, **({} if limit is None else {"limit": limit}))
        assert len(found) == count
        keys = [str(image["key"]) for page in found for image in page]
        assert len(keys) == len(set(keys)) == 2500
        assert set(keys) == expected


async def test_images_that_come_and_go_between_pages_cost_no_other_its_place(
    client: httpx.AsyncClient, index: VectorIndex
) -> None:
    stay = {f"{n}.jpg" for n in range(100)}
    await index.write([image_point(key) for key in stay])
    seen: list[str] = []
    cursor: str | None = None
    for step in range(100):
        answer = (await client.get("/v1/images", params={"limit": 7, **({"cursor": cursor} if cursor else {})})).json()
        seen += [image["key"] for image in answer["images"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
        await index.write([image_point(f"new{step}-{n}.jpg") for n in range(3)])
        await index.write([image_point(f"new{step}-{n}.jpg", status=Status.GONE, version=8) for n in range(2)])
    assert stay <= set(seen)
    assert len(seen) == len(set(seen))


async def test_an_image_has_its_id_place_etag_version_and_payload(
    client: httpx.AsyncClient, index: VectorIndex
) -> None:
    point = image_point("a/ü 1.jpg", etag="e1", version=42, width=640)
    await index.write([point])
    expected = {
        "id": str(point.id),
        "bucket": "images",
        "key": "a/ü 1.jpg",
        "etag": "e1",
        "version": 42,
        "payload": point.payload.as_json(),
    }
    assert await pages(client) == [[expected]]
    assert (await client.get(f"/v1/images/{point.id}")).json() == expected


async def test_the_vector_comes_when_it_is_asked_for_and_reads_back_exactly(
    client: httpx.AsyncClient, index: VectorIndex
) -> None:
    point = image_point("a.jpg")
    await index.write([point])
    assert "vector" not in (await client.get(f"/v1/images/{point.id}?vector=false")).json()
    vector = (await client.get(f"/v1/images/{point.id}?vector=true")).json()["vector"]
    (stored,) = await index.get([point.id], with_vectors=True)
    assert stored.vector is not None
    assert np.array_equal(np.array(vector, dtype=np.float32), stored.vector)
    assert np.allclose(vector, unit_vector("IMG a.jpg"))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, ["a/1.jpg", "a/2.jpg", "b/1.jpg", "f/1.jpg"]),
        ({"status": "indexed"}, ["a/1.jpg", "a/2.jpg", "b/1.jpg", "f/1.jpg"]),
        ({"status": "rejected"}, ["a/bad.jpg"]),
        ({"status": "gone"}, ["a/gone.jpg"]),
        ({"status": "any", "prefix": "a/"}, ["a/1.jpg", "a/2.jpg", "a/bad.jpg", "a/gone.jpg"]),
        ({"prefix": "a/"}, ["a/1.jpg", "a/2.jpg"]),
        ({"prefix": "a/", "status": "rejected"}, ["a/bad.jpg"]),
        ({"prefix": "A/"}, []),
        ({"bucket": "holiday"}, ["f/1.jpg"]),
        ({"source": "folder"}, ["f/1.jpg"]),
        ({"source": "s3", "bucket": "holiday"}, []),
    ],
)
async def test_listings_are_narrowed_by_status_bucket_prefix_and_source(
    client: httpx.AsyncClient, index: VectorIndex, parameters: dict[str, str], expected: list[str]
) -> None:
    await index.write(
        [
            image_point("a/1.jpg"),
            image_point("a/2.jpg"),
            image_point("b/1.jpg"),
            image_point("f/1.jpg", source="folder", bucket="holiday"),
            rejected("a/bad.jpg"),
            image_point("a/gone.jpg", status=Status.GONE),
        ]
    )
    found = [image["key"] for page in await pages(client, limit=2, **parameters) for image in page]
    assert sorted(str(key) for key in found) == expected


async def test_a_rejected_image_is_answered_with_its_reason_when_it_is_asked_for(
    client: httpx.AsyncClient, index: VectorIndex
) -> None:
    point = rejected("bad.jpg")
    await index.write([point])
    image = (await client.get(f"/v1/images/{point.id}?status=rejected&vector=true")).json()
    assert image["payload"]["reason"] == "not_an_image"
    assert image["payload"]["detail"] == "it looks like an HTML page"
    assert "vector" not in image


async def test_an_image_of_any_status_is_answered_when_any_will_do(
    client: httpx.AsyncClient, index: VectorIndex
) -> None:
    points = [image_point("good.jpg"), rejected("bad.jpg"), image_point("gone.jpg", status=Status.GONE)]
    await index.write(points)
    for point in points:
        image = (await client.get(f"/v1/images/{point.id}?status=any")).json()
        assert image["payload"]["status"] == point.payload.status


async def test_a_gone_image_has_no_etag(client: httpx.AsyncClient, index: VectorIndex) -> None:
    await index.write([image_point("gone.jpg", status=Status.GONE)])
    assert (await pages(client, status="gone"))[0][0]["etag"] is None


async def test_without_a_collection_the_listing_is_empty(empty_index: QdrantIndex, engine: FakeEngine) -> None:
    async with client_of(create_app(empty_index, engine, probes=Probes(), registry=CollectorRegistry())) as client:
        assert (await client.get("/v1/images")).json() == {"images": [], "next_cursor": None}


@pytest.mark.parametrize("cursor", ["nonsense", "5", "\u0000", "'; drop table", "x" * 2000])
async def test_a_cursor_that_is_none_is_named(client: httpx.AsyncClient, index: VectorIndex, cursor: str) -> None:
    answer = await client.get("/v1/images", params={"cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "cursor"
