"""A shop's search by photo: at least 0.3 alike, at most 50, never folded, and what was found under the search's id."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from encoders.engine import EngineClosed
from schemas.errors import ConfigurationError, DependencyUnavailable
from services.search.load import EngineFull
from services.search.photo_search import KeptSearches, photo_search_router
from services.search.problems import install_handlers
from services.search.ranking.query import Searcher
from stores.vectors import ForeignCollection, Point, VectorIndex
from tests.unit.search.conftest import LIMITS, client_of, image_point
from tests.unit.search.fakes import FakeEngine, unit_vector

PHOTO = b"IMG a shoe"


def at_cosine(cosine: float, name: str) -> Point:
    """An indexed image whose vector has that cosine with the photo's."""
    photo, other = unit_vector(PHOTO), unit_vector(name)
    aside = other - (other @ photo) * photo
    vector = cosine * photo + np.sqrt(1 - cosine**2) * aside / np.linalg.norm(aside)
    point = image_point(name)
    return Point(point.id, point.payload, vector.astype(np.float32))


async def indexed(index: VectorIndex, cosines: Sequence[float]) -> None:
    await index.write([at_cosine(cosine, f"{number}.jpg") for number, cosine in enumerate(cosines)])


async def found_by(client: httpx.AsyncClient, field: str = "image") -> httpx.Response:
    return await client.post("/api/search-by-image", files={field: ("shoe.jpg", PHOTO, "image/jpeg")})


@pytest.mark.parametrize("field", ["image", "photo", "file"])
async def test_the_answer_is_an_id_and_a_count_under_each_name_of_the_field(
    client: httpx.AsyncClient, index: VectorIndex, field: str
) -> None:
    await indexed(index, [0.9, 0.5, 0.31, 0.29, -0.4])
    answer = await found_by(client, field)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert list(body) == ["success", "search_id", "count"]
    assert body["success"] is True
    assert str(UUID(body["search_id"])) == body["search_id"]
    assert body["count"] == 3


async def test_what_was_found_is_answered_best_first_under_the_id(
    client: httpx.AsyncClient, index: VectorIndex
) -> None:
    await indexed(index, [0.5, 0.9, 0.31, 0.29])
    first, second = (await found_by(client)).json(), (await found_by(client)).json()
    assert first["search_id"] != second["search_id"]
    found = (await client.get(f"/api/search-results/{first['search_id']}")).json()
    assert {name: found[name] for name in first} == first
    assert [one["key"] for one in found["results"]] == ["1.jpg", "0.jpg", "2.jpg"]
    assert [one["score"] for one in found["results"]] == pytest.approx([0.9, 0.5, 0.31], abs=1e-4)
    assert found["results"][0]["payload"]["bucket"] == "images"


async def test_what_was_found_stays_as_it_was_when_the_index_changes(
    client: httpx.AsyncClient, index: VectorIndex
) -> None:
    await indexed(index, [0.9])
    search = (await found_by(client)).json()["search_id"]
    await index.write([at_cosine(0.95, "later.jpg")])
    found = (await client.get(f"/api/search-results/{search}")).json()
    assert [one["key"] for one in found["results"]] == ["0.jpg"]
    assert (await found_by(client)).json()["count"] == 2


async def test_at_most_fifty_are_found_and_copies_of_one_picture_count_each(
    client: httpx.AsyncClient, index: VectorIndex
) -> None:
    copies = [image_point(f"{n}.jpg", sha256="ab" * 32) for n in range(60)]
    await index.write([Point(one.id, one.payload, unit_vector(PHOTO)) for one in copies])
    body = (await found_by(client)).json()
    assert body["count"] == 50
    found = (await client.get(f"/api/search-results/{body['search_id']}")).json()["results"]
    assert len({one["key"] for one in found}) == 50


async def test_nothing_alike_is_a_success_with_none(client: httpx.AsyncClient, index: VectorIndex) -> None:
    await indexed(index, [0.2, -0.9])
    body = (await found_by(client)).json()
    assert (body["success"], body["count"]) == (True, 0)
    assert (await client.get(f"/api/search-results/{body['search_id']}")).json()["results"] == []


async def test_other_fields_of_the_form_are_borne(client: httpx.AsyncClient, index: VectorIndex) -> None:
    await indexed(index, [0.9])
    sent: dict[str, Any] = {"csrf_token": (None, "xyz"), "photo": ("x.jpg", PHOTO), "page": (None, "2")}
    answer = await client.post("/api/search-by-image", files=sent)
    assert answer.json()["count"] == 1


@pytest.mark.parametrize(
    ("files", "status", "kind"),
    [
        ({"image": ("x.jpg", b"no picture")}, 422, "bad-image"),
        ({"image": ("x.jpg", b"")}, 422, "bad-image"),
        ({"picture": ("x.jpg", PHOTO)}, 422, "bad-parameter"),
        ({"image": ("x.jpg", PHOTO), "photo": ("y.jpg", PHOTO)}, 422, "bad-parameter"),
        ({"image": ("x.jpg", b"IMG" + b"x" * LIMITS.image_bytes)}, 413, "body-too-large"),
    ],
    ids=["no image", "empty", "no such field", "two photos", "too large"],
)
async def test_what_cannot_be_searched_for_is_no_success(
    client: httpx.AsyncClient, files: dict[str, tuple[str, bytes]], status: int, kind: str
) -> None:
    answer = await client.post("/api/search-by-image", files=files)
    assert answer.status_code == status
    body = answer.json()
    assert body["success"] is False
    assert body["type"] == f"urn:sightline:problem:{kind}"


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (DependencyUnavailable("model", "it is away", "Wait"), 503, "unavailable"),
        (EngineFull("256 requests wait for the model"), 429, "too-many-requests"),
        (EngineClosed("the engine was closed"), 503, "unavailable"),
        (ConfigurationError("The token was refused"), 503, "misconfigured"),
        (ForeignCollection("The index holds vectors of another model"), 503, "foreign-encoder"),
        (ZeroDivisionError("a bug"), 500, "bug"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_whatever_fails_is_no_success(
    client: httpx.AsyncClient, engine: FakeEngine, failure: Exception, status: int, kind: str
) -> None:
    engine.failure = failure
    answer = await found_by(client)
    assert answer.status_code == status
    assert answer.json()["success"] is False
    assert answer.json()["type"] == f"urn:sightline:problem:{kind}"
    elsewhere = (await client.get("/v1/search?q=x")).json()
    assert elsewhere["status"] == status
    assert "success" not in elsewhere


async def test_what_is_not_there_is_no_success_either(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/api/nothing"), ("GET", "/api/search-by-image"), ("GET", "/api/search-results/17")):
        answer = await client.request(method, path)
        assert answer.status_code in (404, 405, 422)
        assert answer.json()["success"] is False


async def test_an_id_that_no_search_has_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/api/search-results/{uuid4()}")
    assert answer.status_code == 404
    body = answer.json()
    assert (body["type"], body["success"]) == ("urn:sightline:problem:no-such-search", False)
    assert "Search by the photo again" in body["remedy"]
    assert (await client.get("/api/search-results/17")).status_code == 422


async def test_what_was_found_is_forgotten_after_its_time(index: VectorIndex, engine: FakeEngine) -> None:
    now = 1000.0
    kept = KeptSearches(seconds=60, clock=lambda: now)
    app = FastAPI()
    install_handlers(app)
    app.include_router(photo_search_router(Searcher(index, engine), LIMITS, kept))
    await indexed(index, [0.9])
    async with client_of(app) as client:
        where = f"/api/search-results/{(await found_by(client)).json()['search_id']}"
        now += 59.9
        assert (await client.get(where)).status_code == 200
        now += 0.1
        assert (await client.get(where)).status_code == 404


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 20)), max_size=60), st.integers(1, 8))
def test_no_more_are_kept_than_may_be_and_none_beyond_its_time(steps: list[tuple[float, int]], most: int) -> None:
    now = 0.0
    kept = KeptSearches(most=most, seconds=60, clock=lambda: now)
    expected: dict[UUID, tuple[float, bytes]] = {}
    for pause, number in steps:
        now += pause
        search = UUID(int=number)
        expected.pop(search, None)
        expected[search] = now, b"%d" % number
        kept.keep(search, b"%d" % number)
        newest = list(expected)[-most:]
        for one, (since, found) in expected.items():
            assert kept.get(one) == (found if one in newest and now < since + 60 else None)
