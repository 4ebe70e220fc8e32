"""The client against the service itself: what it sends is what the API documents, what it reads is what is answered."""

from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi import FastAPI
from PIL import Image as Pixels
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from encoders.engine import EncoderEngine
from encoders.hashing import HashingEncoder
from runtime.probes import Probes
from schemas.events import Tag
from services.search.answers import StatusAnswer
from services.search.api import create_app
from sightline_client import AsyncSightline, Indexed, Picture, ProblemError, Words, answers, requests, where
from stores.qdrant_server import QdrantIndex
from tests.unit.search.conftest import client_of, empty_index, image_point, made_for
from tests.unit.search.fakes import FakeEngine, FakeIndex

__all__ = ["empty_index"]


def picture(red: int) -> bytes:
    image = Pixels.radial_gradient("L").convert("RGB")
    image.paste((red, 40, 200), (10, 10, 10 + red // 2, 120))
    target = BytesIO()
    image.save(target, "PNG")
    return target.getvalue()


@pytest.fixture
async def app(empty_index: QdrantIndex) -> AsyncIterator[FastAPI]:
    async with EncoderEngine(HashingEncoder()) as engine:
        await empty_index.ensure(made_for(engine.encoder.identity))
        points = []
        for red in (20, 80, 140, 200):
            vector = (await engine.embed_image(picture(red))).vector
            tags = [Tag(tag="red" if red > 100 else "blue", score=0.9)]
            point = image_point(
                f"{red}.png", tags=tags, camera="Lens", format="PNG", taken_at=f"2024-05-{red // 10:02d}T00:00:00Z"
            )
            points.append(replace(point, vector=vector))
        await empty_index.write(points)
        yield create_app(empty_index, engine, probes=Probes(), registry=CollectorRegistry())


@pytest.fixture
async def sightline(app: FastAPI) -> AsyncIterator[AsyncSightline]:
    async with client_of(app) as client:
        yield AsyncSightline(client=client)


async def test_searches_by_picture_by_words_and_by_examples(sightline: AsyncSightline) -> None:
    page = await sightline.search_page(Picture(picture(80)), fold=False)
    assert page.results[0].key == "80.png"
    assert page.results[0].score == pytest.approx(1, abs=1e-5)
    assert page.results[0].payload.tags[0].tag == "blue"
    assert len([one async for one in sightline.search("a box", page=1, fold=False)]) == 4
    liked = [
        one async for one in sightline.search(like=[Indexed(page.results[0].id), Words("box", weight=0.5)], fold=False)
    ]
    assert "80.png" not in {one.key for one in liked}
    only = where(tag="red") & ~where(prefix="200")
    assert [one.key async for one in sightline.search("a box", only=only, fold=False)] == ["140.png"]


async def test_lists_counts_and_dates(sightline: AsyncSightline) -> None:
    assert len([one async for one in sightline.images(page=3)]) == 4
    [image] = [one async for one in sightline.images(only=where(prefix="140"))]
    assert len((await sightline.image(image.id, vector=True)).vector or ()) == 256
    counts = {(one.tag, one.count) for one in await sightline.tags(only=where())}
    assert counts == {("red", 2), ("blue", 2)}
    assert len(await sightline.tags(limit=1)) == 1
    assert [(one.value, one.count) for one in await sightline.facets("camera")] == [("Lens", 4)]
    days = await sightline.statistics("day")
    assert sum(one.count for one in days) == 4
    assert days[0].since is not None


async def test_exports_and_embeds(sightline: AsyncSightline, tmp_path: Path) -> None:
    assert await sightline.export(tmp_path / "all.csv", format="csv") > 0
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 5
    await sightline.export(tmp_path / "red.jsonl", format="jsonl", only=where(tag="red"))
    assert len((tmp_path / "red.jsonl").read_text().splitlines()) == 2
    (tmp_path / "one.png").write_bytes(picture(20))
    one = await sightline.embed_image(tmp_path / "one.png")
    assert one.embedding == pytest.approx((await sightline.embed_image(picture(20))).embedding)
    texts = await sightline.embed_texts(["a", "b"])
    assert len(texts.embeddings) == 2
    assert (one.model, one.dimension) == (texts.model, texts.dimension) == ("hashing", 256)


async def test_a_refusal_carries_the_services_sentence(sightline: AsyncSightline) -> None:
    with pytest.raises(ProblemError, match="limit"):
        await sightline.search_page("x", limit=100_000)
    with pytest.raises(ProblemError) as caught:
        await sightline.image(uuid4())
    assert caught.value.status == 404
    assert caught.value.remedy


async def test_duplicates_are_read(sightline: AsyncSightline) -> None:
    for kind in ("exact", "re-encoded", "similar"):
        groups = [one async for one in sightline.duplicates(kind)]
        assert all(group.kind == kind and len(group.images) > 1 for group in groups)


ONE = uuid4()
EVERY_CALL = [
    requests.search(
        "x",
        like=[],
        unlike=[],
        only=where(tag="a"),
        limit=1,
        threshold=0.1,
        sort="relevance",
        good_only=True,
        fold=False,
    ).at("c"),
    requests.images(only=where(tag="a"), status="any", sort="id", limit=5).at("c"),
    requests.image(ONE, vector=True),
    requests.timeline(ONE),
    requests.original(ONE),
    requests.thumbnail(ONE, 320),
    requests.retry(ONE),
    requests.tags(where(tag="a"), 5),
    requests.facets("tag", where(tag="a"), 5),
    requests.statistics("day", "taken", where(tag="a")),
    requests.duplicates("exact", 5).at("c"),
    requests.export("csv", "words", 5, where(tag="a")),
    requests.embed_texts(["a"]),
    requests.embed_image(b"x", "x.png"),
]


@pytest.mark.parametrize("call", EVERY_CALL, ids=lambda call: f"{call.method} {call.path.replace(str(ONE), 'ID')}")
def test_every_request_is_one_that_the_api_documents(call: requests.Call, app: FastAPI) -> None:
    operation = app.openapi()["paths"][call.path.replace(str(ONE), "{id}")][call.method.lower()]
    documented = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
    assert set(call.params) <= documented
    bodies = operation.get("requestBody", {}).get("content", {})
    assert call.body is None or "application/json" in bodies
    assert call.files is None or "multipart/form-data" in bodies


ANSWERS = {
    answers.DuplicateGroup: "DuplicateGroup",
    answers.DuplicatesPage: "DuplicatesAnswer",
    answers.Embedding: "Embedding",
    answers.Embeddings: "Embeddings",
    answers.FacetValue: "ValueCount",
    answers.FacetValues: "FacetsAnswer",
    answers.Image: "ImageAnswer",
    answers.ImageInfo: "PointPayload",
    answers.ImagesPage: "ImagesAnswer",
    answers.Journey: "Journey",
    answers.LetterNow: "LetterNow",
    answers.Location: "Location",
    answers.ModelNow: "ModelNow",
    answers.Near: "DuplicateImage",
    answers.Now: "Now",
    answers.ObjectNow: "ObjectNow",
    answers.Result: "Result",
    answers.RulesNow: "RulesNow",
    answers.SearchPage: "SearchAnswer",
    answers.Status: "StatusAnswer",
    answers.Tag: "Tag",
    answers.TagCount: "TagCount",
    answers.TagCounts: "TagsAnswer",
    answers.Timeline: "Timeline",
    answers.TimelineStep: "Step",
}
LEFT_OUT = {answers.FacetValues: {"field"}, answers.Embedding: {"version"}, answers.Embeddings: {"version"}}
"""What only repeats the question, or is there for programs that expect it of another service."""


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.__name__)
def test_every_answer_is_read_whole(answer: type[BaseModel]) -> None:
    async def status() -> StatusAnswer:
        raise NotImplementedError

    app = create_app(FakeIndex(), FakeEngine(), probes=Probes(), registry=CollectorRegistry(), status=status)
    documented = app.openapi()["components"]["schemas"][ANSWERS[answer]]["properties"]
    assert {*answer.model_fields, *LEFT_OUT.get(answer, ())} == {*documented}


@pytest.mark.parametrize("key", ["clé", "a b\n", "\x00"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_told(key: str) -> None:
    with pytest.raises(ValueError, match="the API key has characters") as caught:
        AsyncSightline("http://127.0.0.1:8080", api_key=key)
    assert key not in str(caught.value)
