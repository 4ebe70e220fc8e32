"""Searches by words, by an image and by id, with every option, through the API."""

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client import CollectorRegistry

from runtime.probes import Probes
from schemas.collection import Status
from schemas.errors import DependencyUnavailable
from services.search.api import create_app
from services.search.ranking.relevance import Calibration
from stores.qdrant_server import QdrantIndex
from stores.vectors import Hit, VectorIndex
from tests.unit.search.conftest import client_of, image_point, made_for, rejected
from tests.unit.search.fakes import FakeEngine, FakeIndex, identity, unit_vector


def keys(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [result["key"] for result in answer.json()["results"]]


@pytest.fixture
async def three(index: VectorIndex) -> VectorIndex:
    await index.write([image_point("a/one.jpg", etag="e1"), image_point("a/two.jpg"), image_point("b/three.jpg")])
    return index


async def test_an_image_finds_itself_first_with_all_that_is_known_of_it(
    client: httpx.AsyncClient, three: VectorIndex
) -> None:
    answer = await client.post("/v1/search", files={"image": b"IMG a/one.jpg"})
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"results", "next_cursor", "took_ms", "steps_ms"}
    assert body["next_cursor"] is None
    assert {"embed", "search", "payload"} <= set(body["steps_ms"])
    assert 0 <= sum(body["steps_ms"].values()) <= body["took_ms"]
    assert len(body["results"]) == 3
    best = body["results"][0]
    assert best["score"] == pytest.approx(1)
    point = image_point("a/one.jpg", etag="e1")
    assert best == {
        "id": str(point.id),
        "bucket": "images",
        "key": "a/one.jpg",
        "score": best["score"],
        "relevance": best["relevance"],
        "duplicates": 0,
        "payload": point.payload.as_json(),
    }
    scores = [result["score"] for result in body["results"]]
    assert scores == sorted(scores, reverse=True)


async def test_words_in_the_address_line_and_words_in_json_find_the_same(
    client: httpx.AsyncClient, three: VectorIndex
) -> None:
    words = "IMG b/three.jpg"
    assert keys(await client.get("/v1/search", params={"q": words}))[0] == "b/three.jpg"
    assert keys(await client.post("/v1/search", json={"text": f"  {words} "}))[0] == "b/three.jpg"


async def test_a_search_by_id_leaves_the_image_itself_out_and_needs_no_encoder(
    client: httpx.AsyncClient, three: VectorIndex, engine: FakeEngine
) -> None:
    answer = await client.post("/v1/search", json={"id": str(image_point("a/one.jpg").id)})
    assert sorted(keys(answer)) == ["a/two.jpg", "b/three.jpg"]
    assert engine.calls == 0


@pytest.mark.parametrize(
    "part",
    [
        (None, b"IMG a/two.jpg"),
        ("", b"IMG a/two.jpg"),
        ("evil.html", b"IMG a/two.jpg", "text/html; charset=utf-16"),
        ("x" * 2000, b"IMG a/two.jpg", "nonsense"),
        ('ünï\r\ncode".png', b"IMG a/two.jpg"),
    ],
)
async def test_the_bytes_decide_whatever_file_name_and_content_type_say(
    client: httpx.AsyncClient, three: VectorIndex, part: Any
) -> None:
    assert keys(await client.post("/v1/search", files={"image": part}))[0] == "a/two.jpg"


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ((None, b"IMG"), None),
        (("", b"IMG"), None),
        (("red_shoe-01.jpg", b"IMG", "text/html"), "red_shoe-01.jpg"),
        (("Красные сапоги 犬.jpg", b"IMG"), "Красные сапоги 犬.jpg"),
    ],
)
async def test_the_file_name_is_handed_to_models_that_read_names(
    client: httpx.AsyncClient, three: VectorIndex, engine: FakeEngine, part: Any, key: str | None
) -> None:
    await client.post("/v1/search", files={"image": part})
    assert engine.keys == [key]


async def test_bytes_of_every_value_survive_a_form_without_file_name(
    client: httpx.AsyncClient, index: VectorIndex
) -> None:
    data = b"IMG" + bytes(range(256)) * 50 + b"\r\n--almost\r\n--"
    await index.write([replace(image_point("same.png"), vector=unit_vector(data))])
    best = (await client.post("/v1/search", files={"image": (None, data)})).json()["results"][0]
    assert best["score"] == pytest.approx(1)


async def test_only_indexed_images_are_found(client: httpx.AsyncClient, index: VectorIndex) -> None:
    await index.write([image_point("good.jpg"), rejected("bad.jpg"), image_point("gone.jpg", status=Status.GONE)])
    assert keys(await client.get("/v1/search", params={"q": "anything"})) == ["good.jpg"]


async def test_the_default_limit_is_20_and_a_thousand_may_be_asked_for(
    client: httpx.AsyncClient, index: VectorIndex
) -> None:
    await index.write([image_point(f"{n}.jpg") for n in range(1200)])
    assert len(keys(await client.get("/v1/search", params={"q": "x"}))) == 20
    assert len(keys(await client.get("/v1/search", params={"q": "x", "limit": 1}))) == 1
    assert len(keys(await client.post("/v1/search?limit=1000", files={"image": b"IMG"}))) == 1000


async def test_the_threshold_is_the_least_score(client: httpx.AsyncClient, three: VectorIndex) -> None:
    everything = (await client.post("/v1/search", files={"image": b"IMG a/one.jpg"})).json()["results"]
    least = everything[1]["score"]
    for threshold, expected in ((-1, 3), (least - 1e-6, 2), (least + 1e-6, 1), (0.99, 1)):
        found = keys(await client.post(f"/v1/search?threshold={threshold}", files={"image": b"IMG a/one.jpg"}))
        assert len(found) == expected


async def test_a_tag_and_its_least_score_narrow_searches_and_listings(
    client: httpx.AsyncClient, index: VectorIndex
) -> None:
    def tags(**scores: float) -> list[dict[str, object]]:
        return [{"tag": tag, "score": score} for tag, score in scores.items()]

    surely, hardly = (
        image_point("surely.jpg", tags=tags(cat=0.9)),
        image_point("hardly.jpg", tags=tags(dog=0.9, cat=0.1)),
    )
    await index.write([surely, hardly, image_point("untagged.jpg")])
    cases: list[tuple[dict[str, str], list[str]]] = [
        ({"tag": "cat"}, ["hardly.jpg", "surely.jpg"]),
        ({"tag": "cat", "tag_score": "0.5"}, ["surely.jpg"]),
        ({"tag": "bird"}, []),
    ]
    for options, expected in cases:
        assert sorted(keys(await client.get("/v1/search", params={"q": "x", **options}))) == expected
        assert sorted(keys(await client.post("/v1/search", params=options, json={"text": "x"}))) == expected
        listed = (await client.get("/v1/images", params=options)).json()["images"]
        assert sorted(image["key"] for image in listed) == expected


@pytest.fixture
async def dated(index: VectorIndex) -> VectorIndex:
    def at(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    await index.write(
        [
            image_point("early.jpg", taken_at=at("2024-05-15T12:00"), uploaded_at=at("2024-06-15T12:00")),
            image_point("late.jpg", taken_at=at("2024-05-16T12:00"), uploaded_at=at("2024-06-16T12:00")),
            image_point("undated.jpg"),
            image_point("early.jpg", source="folder", bucket="holiday"),
        ]
    )
    return index


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("bucket=holiday", ["early.jpg@holiday"]),
        ("source=s3&prefix=early", ["early.jpg@images"]),
        ("source=folder", ["early.jpg@holiday"]),
        ("prefix=nothing", []),
        ("bucket=nothing", []),
        ("prefix=l", ["late.jpg@images"]),
        ("taken_after=2024-05-16", ["late.jpg@images"]),
        ("taken_after=2024-05-15T12:00:00", ["early.jpg@images", "late.jpg@images"]),
        ("taken_before=2024-05-15T12:00:00Z", []),
        ("taken_before=2024-05-15T12:00:00.001Z", ["early.jpg@images"]),
        ("taken_after=2024-05-15&taken_before=2024-05-16T00:00", ["early.jpg@images"]),
        ("uploaded_after=2024-06-16", ["late.jpg@images"]),
        ("uploaded_before=2024-06-16", ["early.jpg@images"]),
        # Noon UTC is two in the afternoon in a zone two hours east.
        ("taken_before=2024-05-15T14:00:00%2B02:00", []),
        ("taken_before=2024-05-15T14:00:01%2B02:00", ["early.jpg@images"]),
        ("taken_before=2024-05-15T14:00:01+02:00", ["early.jpg@images"]),
        ("taken_before=2024-05-15T14:00:01%2B0200", ["early.jpg@images"]),
        ("taken_before=2024-05-15T06:00:01-06:00", ["early.jpg@images"]),
    ],
)
@pytest.mark.parametrize("form", ["words", "json", "id", "image"])
async def test_options_narrow_every_form_of_search_alike(
    client: httpx.AsyncClient, dated: VectorIndex, form: str, options: str, expected: list[str]
) -> None:
    if form == "words":
        answer = await client.get(f"/v1/search?q=anything&{options}")
    elif form == "json":
        answer = await client.post(f"/v1/search?{options}", json={"text": "anything"})
    elif form == "id":
        answer = await client.post(f"/v1/search?{options}", json={"id": str(image_point("undated.jpg").id)})
    else:
        answer = await client.post(f"/v1/search?{options}", files={"image": b"IMG"})
    assert answer.status_code == 200, answer.text
    assert sorted(f"{one['key']}@{one['bucket']}" for one in answer.json()["results"]) == expected


async def test_a_point_that_is_not_indexed_is_not_found_even_if_it_kept_a_vector(engine: FakeEngine) -> None:
    index = FakeIndex()
    await index.ensure(made_for(engine.encoder.identity))
    await index.write([image_point("good.jpg"), replace(rejected("bad.jpg"), vector=unit_vector("IMG bad.jpg"))])
    async with client_of(create_app(index, engine, probes=Probes(), registry=CollectorRegistry())) as client:
        assert keys(await client.post("/v1/search", files={"image": b"IMG bad.jpg"})) == ["good.jpg"]


async def test_without_a_collection_there_are_no_results_and_no_error_and_one_made_later_is_searched_at_once(
    empty_index: QdrantIndex, engine: FakeEngine
) -> None:
    async with client_of(create_app(empty_index, engine, probes=Probes(), registry=CollectorRegistry())) as client:
        assert keys(await client.get("/v1/search", params={"q": "x"})) == []
        assert keys(await client.post("/v1/search", files={"image": b"IMG"})) == []
        assert (await client.post("/v1/search", files={"image": b"no image"})).status_code == 422
        assert (await client.post("/v1/search", json={"id": str(uuid4())})).status_code == 404
        await empty_index.ensure(made_for(engine.encoder.identity))
        await empty_index.write([image_point("a.jpg")])
        assert keys(await client.get("/v1/search", params={"q": "x"})) == ["a.jpg"]


async def test_a_scale_that_failed_unasked_for_is_not_reported_beside_the_error_that_was_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def no_scale(*_: object, **__: object) -> None:
        raise DependencyUnavailable("index", "no scale", "start it")

    class Away(FakeIndex):
        async def search(self, *_: object, **__: object) -> Sequence[Hit]:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            raise DependencyUnavailable("index", "it is away", "start it")

    index = Away()
    index.made = made_for(identity())
    monkeypatch.setattr(Calibration, "of", no_scale)
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with client_of(create_app(index, FakeEngine(), probes=Probes(), registry=CollectorRegistry())) as client:
        assert "it is away" in (await client.get("/v1/search?q=x")).json()["detail"]
    gc.collect()
    assert not reported
