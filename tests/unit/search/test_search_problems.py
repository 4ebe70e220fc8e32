"""Every way to ask wrongly, and every way to fail, through the API."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from encoders.encoder import Modality
from encoders.engine import EngineClosed
from runtime.probes import Probes
from schemas.collection import Status
from schemas.errors import ConfigurationError, DependencyUnavailable
from services.search.api import create_app
from services.search.body import DISCARD_BYTES
from services.search.collection import RECHECK_SECONDS, Collection
from services.search.filters.options import SearchOptions
from services.search.ranking.examples import Example, Words
from services.search.ranking.query import Searcher
from stores.vectors import ForeignCollection
from tests.unit.search.conftest import LIMITS, image_point, made_for, rejected
from tests.unit.search.fakes import FakeEngine, FakeIndex, FakeModel, identity


@pytest.fixture
async def index(engine: FakeEngine) -> FakeIndex:
    """An index that can be taken away, and whose collection can be exchanged."""
    index = FakeIndex()
    await index.ensure(made_for(engine.encoder.identity))
    return index


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:sightline:problem:{kind}"
    assert body["status"] == status
    assert body["title"]
    assert len(body["detail"]) > 10
    assert len(body["remedy"]) > 10
    return body


def fields(answer: httpx.Response) -> list[str]:
    return [error["field"] for error in problem(answer, 422, "bad-parameter")["errors"]]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ("", "q"),
        ("q=", "q"),
        ("q=%20%09", "q"),
        (f"q={'x' * 101}", "q"),
        ("q=x&limit=0", "limit"),
        ("q=x&limit=1001", "limit"),
        ("q=x&limit=-1", "limit"),
        ("q=x&limit=1.5", "limit"),
        ("q=x&limit=", "limit"),
        ("q=x&limit=" + "9" * 400, "limit"),
        ("q=x&limit=" + "9" * 5000, "limit"),
        ("q=x&threshold=NaN", "threshold"),
        ("q=x&threshold=inf", "threshold"),
        ("q=x&threshold=1.01", "threshold"),
        ("q=x&threshold=high", "threshold"),
        ("q=x&bucket=", "bucket"),
        ("q=x&bucket=a/b", "bucket"),
        ("q=x&bucket=a%00b", "bucket"),
        ("q=x&prefix=" + "x" * 4097, "prefix"),
        ("q=x&source=S3!", "source"),
        ("q=x&tag=", "tag"),
        ("q=x&tag_score=0.5", "tag_score"),
        ("q=x&tag=cat&tag_score=1.5", "tag_score"),
        ("q=x&tag=cat&tag_score=NaN", "tag_score"),
        ("q=x&taken_after=yesterday", "taken_after"),
        ("q=x&taken_after=2024", "taken_after"),
        ("q=x&taken_before=1715783400", "taken_before"),
        ("q=x&taken_before=1711112400000", "taken_before"),
        ("q=x&taken_after=0001-01-01T00:00:00%2B14:00", "taken_after"),
        ("q=x&uploaded_after=2024-02-30", "uploaded_after"),
        ("q=x&uploaded_before=", "uploaded_before"),
        ("q=x&treshold=0.5", "treshold"),
        ("q=x&limit=5&limit=6", "limit"),
        ("q=%ff%fe", "query string"),
        ("q=x&bucket=%C3%28", "query string"),
    ],
)
async def test_a_parameter_that_cannot_be_used_is_named(client: httpx.AsyncClient, parameters: str, field: str) -> None:
    answer = await client.get(f"/v1/search?{parameters}")
    assert fields(answer) == [field]
    assert len(answer.content) < 1500, "what was sent is not echoed at length"


async def test_every_parameter_that_is_wrong_is_named_at_once(client: httpx.AsyncClient) -> None:
    assert fields(await client.get("/v1/search?limit=0&threshold=2")) == ["threshold", "limit", "q"]


async def test_options_are_checked_in_every_form(client: httpx.AsyncClient) -> None:
    assert fields(await client.post("/v1/search?limit=0", json={"text": "x"})) == ["limit"]
    assert fields(await client.post("/v1/search?limit=0", files={"image": b"IMG"})) == ["limit"]
    assert fields(await client.post("/v1/search?q=x", json={"text": "x"})) == ["q"]
    assert fields(await client.get("/v1/images?limit=1001")) == ["limit"]
    assert fields(await client.get("/v1/images?limit=0")) == ["limit"]
    assert fields(await client.get("/v1/images?status=lost")) == ["status"]
    assert fields(await client.get(f"/v1/images/{uuid4()}?vector=perhaps")) == ["vector"]
    assert fields(await client.get("/v1/images/no-id")) == ["id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"text": "x", "id": str(uuid4())}, "body"),
        ({"text": None, "id": None}, "body"),
        ({"text": ""}, "text"),
        ({"text": "  "}, "text"),
        ({"text": "x" * 101}, "text"),
        ({"text": 5}, "text"),
        ({"text": ["x"]}, "text"),
        ({"id": "5"}, "id"),
        ({"text": "x", "limit": 5}, "limit"),
        ([], "body"),
        ("x", "body"),
    ],
)
async def test_a_field_of_a_json_search_that_cannot_be_used_is_named(
    client: httpx.AsyncClient, body: Any, field: str
) -> None:
    assert fields(await client.post("/v1/search", json=body)) == [field]


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"text": "\xff"}', b'{"text": "\\ud800"}', b"\x00", b"[" * 5000, b'{"text": NaN}']
)
async def test_a_body_that_is_no_json_is_a_400(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    problem(answer, answer.status_code, "bad-body" if answer.status_code == 400 else "bad-parameter")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "image/jpeg", ";;"])
async def test_another_kind_of_body_is_refused_with_an_example(client: httpx.AsyncClient, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answer = await client.post("/v1/search", content=b'{"text": "x"}', headers=headers)
    assert "curl -F image=@" in problem(answer, 415, "unsupported-body")["remedy"]


FORM = {"content-type": "multipart/form-data; boundary=B"}
PART = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "multipart/form-data"}, PART + b"IMG\r\n--B--\r\n"),
        ({"content-type": "multipart/form-data; boundary="}, PART + b"IMG\r\n--B--\r\n"),
        ({"content-type": f"multipart/form-data; boundary={'b' * 500}"}, b""),
        (FORM, b""),
        (FORM, b"this is no form at all"),
        (FORM, PART + b"IMG"),
        (FORM, PART + b"IMG\r\n--B"),
        (FORM, PART[:-4]),
        (FORM, b"--B\r\nno header\r\n\r\nIMG\r\n--B--\r\n"),
        (FORM, b"--B\r\n" + b"A: b\r\n" * 10_000 + b"\r\nIMG\r\n--B--\r\n"),
        (FORM, b"--B\r\nA: " + b"b" * 100_000 + b"\r\n\r\nIMG\r\n--B--\r\n"),
    ],
)
async def test_a_malformed_form_is_a_400(client: httpx.AsyncClient, headers: dict[str, str], body: bytes) -> None:
    problem(await client.post("/v1/search", content=body, headers=headers), 400, "bad-body")


@pytest.mark.parametrize(
    ("files", "field"),
    [
        ([("picture", b"IMG")], "picture"),
        ([("Image", b"IMG")], "Image"),
        ([("image", b"IMG"), ("image", b"IMG")], "image"),
        ([("image", b"IMG"), ("limit", (None, b"5"))], "limit"),
    ],
)
async def test_a_field_that_a_form_may_not_have_is_named(client: httpx.AsyncClient, files: Any, field: str) -> None:
    assert fields(await client.post("/v1/search", files=files)) == [field]


async def test_a_form_without_any_field_says_which_is_missing(client: httpx.AsyncClient) -> None:
    assert fields(await client.post("/v1/search", content=b"--B--\r\n", headers=FORM)) == ["image"]


@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=300), cut=st.integers(0, 120))
async def test_no_form_however_broken_is_our_error(body: bytes, cut: int) -> None:
    app = create_app(FakeIndex(), FakeEngine(), probes=Probes(), registry=CollectorRegistry(), limits=LIMITS)
    whole = PART + b"IMG\r\n--B--\r\n"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://search") as client:
        for content in (body, whole[:cut] + body, whole[:cut] + body + whole[cut:]):
            answer = await client.post("/v1/search", content=content, headers=FORM)
            assert answer.status_code in (200, 400, 413, 422)


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b"<html>", "not_an_image")])
async def test_bytes_that_are_no_image_are_a_422_with_the_reason(
    client: httpx.AsyncClient, data: bytes, reason: str
) -> None:
    assert problem(await client.post("/v1/search", files={"image": data}), 422, "bad-image")["reason"] == reason


async def test_an_image_that_is_too_large_is_refused_before_it_is_read_whole(client: httpx.AsyncClient) -> None:
    read = 0
    chunk = bytes(2**20)

    async def endless() -> Any:
        nonlocal read
        yield PART
        while True:
            read += len(chunk)
            yield chunk

    answer = await client.post("/v1/search", content=endless(), headers=FORM)
    assert problem(answer, 413, "body-too-large")["limit_bytes"] == LIMITS.image_body_bytes
    assert read <= LIMITS.image_body_bytes + DISCARD_BYTES + 2 * len(chunk)


async def test_a_body_that_announces_too_much_and_waits_for_leave_is_refused_unread(client: httpx.AsyncClient) -> None:
    async def never() -> Any:
        raise AssertionError("the body was read")
        yield b""

    headers = FORM | {"content-length": "10000000000", "expect": "100-continue"}
    problem(await client.post("/v1/search", content=never(), headers=headers), 413, "body-too-large")


async def test_an_image_just_beyond_the_limit_is_too_large_and_one_at_the_limit_is_not(
    client: httpx.AsyncClient,
) -> None:
    good = b"IMG" + b"x" * (LIMITS.image_bytes - 3)
    assert (await client.post("/v1/search", files={"image": good})).status_code == 200
    problem(await client.post("/v1/search", files={"image": good + b"x"}), 413, "body-too-large")


async def test_json_that_is_too_large_is_a_413(client: httpx.AsyncClient) -> None:
    problem(await client.post("/v1/search", json={"text": "x" * 400_000}), 413, "body-too-large")


async def test_an_unknown_id_is_a_404(client: httpx.AsyncClient) -> None:
    problem(await client.post("/v1/search", json={"id": str(uuid4())}), 404, "no-such-image")
    problem(await client.get(f"/v1/images/{uuid4()}"), 404, "no-such-image")


async def test_the_404_of_an_image_that_was_judged_says_what_became_of_it(
    client: httpx.AsyncClient, index: FakeIndex
) -> None:
    bad, gone = rejected("bad.jpg"), image_point("gone.jpg", status=Status.GONE)
    await index.write([bad, gone])
    for answer in (
        await client.get(f"/v1/images/{bad.id}"),
        await client.post("/v1/search", json={"id": str(bad.id)}),
    ):
        body = problem(answer, 404, "no-such-image")
        assert body["image_status"] == "rejected"
        assert body["detail"] == "bad.jpg was rejected: it looks like an HTML page."
    body = problem(await client.get(f"/v1/images/{gone.id}"), 404, "no-such-image")
    assert body["image_status"] == "gone"


@pytest.mark.parametrize("path", ["/v1/search?q=x", "/v1/images", "/v1/images/6028c38d-7585-400c-b03a-1e7fd90297ae"])
async def test_an_index_that_is_away_is_a_503_that_says_when_to_try_again(
    client: httpx.AsyncClient, index: FakeIndex, path: str
) -> None:
    index.away = DependencyUnavailable("qdrant", "no answer from qdrant:6334", "Start Qdrant")
    answer = await client.get(path)
    body = problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert body["detail"] == "qdrant: no answer from qdrant:6334"
    assert body["remedy"] == "Start Qdrant"
    index.away = None
    assert (await client.get("/v1/search?q=x")).status_code == 200


async def test_a_foreign_encoder_is_refused_for_words_and_images_with_both_names(
    client: httpx.AsyncClient, index: FakeIndex, engine: FakeEngine
) -> None:
    await index.write([image_point("a.jpg"), image_point("b.jpg")])
    engine.encoder = FakeModel(identity("other-def-fp32", model="large"))
    for answer in (
        await client.get("/v1/search?q=x"),
        await client.post("/v1/search", json={"text": "x"}),
        await client.post("/v1/search", files={"image": b"IMG"}),
    ):
        detail = problem(answer, 503, "foreign-encoder")["detail"]
        assert "tiny (abc-def-fp32" in detail
        assert "large (other-def-fp32" in detail
        assert "--model tiny" in detail
        assert "retry-after" not in answer.headers
    assert engine.calls == 0
    # What needs no encoder goes on.
    found = await client.post("/v1/search", json={"id": str(image_point("a.jpg").id)})
    assert [one["key"] for one in found.json()["results"]] == ["b.jpg"]
    assert len((await client.get("/v1/images")).json()["images"]) == 2


async def test_another_dtype_of_the_same_encoder_may_search(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.encoder = FakeModel(identity("abc-def-bf16"))
    assert (await client.get("/v1/search?q=x")).status_code == 200


async def test_the_collection_is_asked_for_once_and_again_after_a_minute(index: FakeIndex) -> None:
    now = 0.0
    engine = FakeEngine()
    searcher = Searcher(index, engine, Collection(index, clock=lambda: now))
    for _ in range(5):
        await searcher.search([Example(Words("x"))], SearchOptions())
    assert index.metadata_asked == 1
    index.made = made_for(identity("moved-def-fp32"))
    now = RECHECK_SECONDS + 1
    with pytest.raises(ForeignCollection):
        await searcher.search([Example(Words("x"))], SearchOptions())


async def test_a_wrong_key_is_a_503_without_retry(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.failure = ConfigurationError("The token was refused. Set another")
    answer = await client.get("/v1/search?q=x")
    problem(answer, 503, "misconfigured")
    assert "retry-after" not in answer.headers


async def test_words_for_a_model_of_images_are_the_clients_mistake(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.encoder.modality = Modality.IMAGES
    engine.failure = ConfigurationError("it knows images only")
    for answer in (
        await client.get("/v1/search?q=x"),
        await client.post("/v1/search", json={"text": "x"}),
        await client.post("/v1/search", json={"like": [{"text": "x"}, {"image_base64": "SU1H"}]}),
        await client.post("/embed/text", json={"text": "x"}),
        await client.get("/v1/export?q=x&format=csv"),
    ):
        detail = problem(answer, 422, "model-takes-no-words")["detail"]
        assert detail == "The model tiny gives words no vector: it knows images only"


async def test_pictures_for_a_model_of_words_are_the_clients_mistake(
    client: httpx.AsyncClient, index: FakeIndex, engine: FakeEngine
) -> None:
    await index.write([image_point("a.jpg"), image_point("b.jpg")])
    engine.encoder.modality = Modality.WORDS
    for answer in (
        await client.post("/v1/search", files={"image": b"IMG"}),
        await client.post("/v1/search", json={"image_base64": "SU1H"}),
        await client.post("/v1/search", json={"url": "https://example.org/1.jpg"}),
        await client.post("/v1/search", json={"like": [{"text": "x"}], "unlike": [{"image_base64": "SU1H"}]}),
        await client.post("/api/search-by-image", files={"photo": b"IMG"}),
        await client.post("/embed", files={"image": b"IMG"}),
    ):
        detail = problem(answer, 422, "model-takes-no-images")["detail"]
        assert detail == "The model tiny takes words only, so it gives images no vector."
    assert (await client.get("/v1/search?q=x")).status_code == 200
    assert (await client.post("/v1/search", json={"id": str(image_point("a.jpg").id)})).status_code == 200


async def test_an_engine_that_is_closing_is_a_503_that_says_to_try_again(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.failure = EngineClosed("the engine was closed")
    answer = await client.get("/v1/search?q=x")
    assert problem(answer, 503, "unavailable")["detail"] == "the engine was closed"
    assert int(answer.headers["retry-after"]) > 0


async def test_a_bug_is_a_500_that_shows_nothing_of_its_inside(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.failure = ZeroDivisionError("secret")
    answer = await client.get("/v1/search?q=x")
    problem(answer, 500, "bug")
    assert "secret" not in answer.text


async def test_what_is_not_there_is_a_problem_too(client: httpx.AsyncClient) -> None:
    assert "/docs" in problem(await client.get("/nothing"), 404, "no-such-page")["remedy"]
    answer = await client.delete("/v1/images")
    assert problem(answer, 405, "method-not-allowed")["remedy"].startswith("Use GET")
    assert answer.headers["allow"] == "GET"


async def test_problems_are_json_even_for_hostile_values(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/search", params={"q": "x", "limit": '"><script>\u0000\u202e'})
    assert json.loads(answer.content)["errors"][0]["field"] == "limit"
