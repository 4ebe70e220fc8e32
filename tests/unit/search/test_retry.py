"""`POST /v1/images/{id}/retry` and `/v1/failures/retry`: hints through the pipeline, later than what is stored."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest

from runtime.in_process import InProcessTopic
from schemas.codec import Message, decode_image_event
from schemas.collection import Status
from schemas.dead_letter import RejectReason
from schemas.errors import DependencyUnavailable
from schemas.events import EventOrigin, ImageEvent
from services.search.one_image import retry
from services.search.one_image.parts import OneImage
from services.search.one_image.retry import Hints
from stores.vectors import VectorIndex
from tests.unit.search.conftest import client_of, image_point, rejected
from tests.unit.search.fakes import FakeEngine
from tests.unit.search.one_image_parts import Gallery, Sent, make_gallery


@pytest.fixture
async def gallery(tmp_path: Path, index: VectorIndex) -> AsyncIterator[Gallery]:
    made = make_gallery(tmp_path / "pictures", tmp_path / "cache", index)
    async with made.store:
        yield made


@pytest.fixture
async def client(gallery: Gallery, engine: FakeEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(gallery.app(engine)) as client:
        yield client


def events(sent: Sent) -> list[ImageEvent]:
    return [decode_image_event(message.value, message.headers) for message in sent.messages]


@pytest.mark.parametrize("status", list(Status))
async def test_a_hint_for_an_image_of_any_status_is_later_than_what_is_stored(
    client: httpx.AsyncClient, gallery: Gallery, index: VectorIndex, status: Status
) -> None:
    point = image_point("f/a.jpg", status=status, version=1_717_243_199_123)
    await index.write([point])
    answer = await client.post(f"/v1/images/{point.id}/retry")
    assert answer.status_code == 202
    body = answer.json()
    assert (body["bucket"], body["key"]) == ("images", "f/a.jpg")
    assert body["timeline"] == f"/v1/images/{point.id}/timeline"
    (event,) = events(gallery.sent)
    assert (event.source, event.bucket, event.key) == ("s3", "images", "f/a.jpg")
    assert event.after == 1_717_243_199_123, "so that the look is later, whatever the clocks say"
    assert event.origin is EventOrigin.REDRIVE
    assert gallery.sent.messages[0].key == b"images/f/a.jpg"


async def test_an_unknown_image_is_not_looked_for(client: httpx.AsyncClient, gallery: Gallery) -> None:
    answer = await client.post(f"/v1/images/{image_point('never.jpg').id}/retry")
    assert answer.status_code == 404
    assert gallery.sent.messages == []


async def test_without_a_pipeline_the_answer_says_what_to_configure(
    gallery: Gallery, engine: FakeEngine, index: VectorIndex
) -> None:
    point = rejected("bad.jpg")
    await index.write([point])
    async with client_of(gallery.app(engine, OneImage())) as client:
        for path in (f"/v1/images/{point.id}/retry", "/v1/failures/retry"):
            answer = await client.post(path)
            assert answer.status_code == 503
            assert "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS" in answer.json()["remedy"]


async def test_all_of_a_reason_are_sent_once_each_in_bounded_steps(
    client: httpx.AsyncClient, gallery: Gallery, index: VectorIndex
) -> None:
    broken = [image_point(f"b/{n}.jpg", status=Status.REJECTED, reason=RejectReason.DECODE_FAILED) for n in range(25)]
    await index.write([*broken, *(rejected(f"b/x{n}.jpg") for n in range(25)), image_point("b/good.jpg")])
    cursor: str | None = None
    sizes = []
    while True:
        asked = {"reason": "decode_failed", "limit": "10"} | ({"cursor": cursor} if cursor else {})
        answer = await client.post("/v1/failures/retry", params=asked)
        assert answer.status_code == 202
        sizes.append(answer.json()["sent"])
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            break
    assert sum(sizes) == 25
    assert max(sizes) <= 10
    assert sorted(event.key for event in events(gallery.sent)) == sorted(point.payload.key for point in broken)


async def test_failures_are_narrowed_by_bucket_and_prefix(
    client: httpx.AsyncClient, gallery: Gallery, index: VectorIndex
) -> None:
    await index.write(
        [
            rejected("a/1.jpg"),
            rejected("b/1.jpg"),
            image_point("a/2.jpg", bucket="other", status=Status.REJECTED, reason=RejectReason.EMPTY),
        ]
    )
    await client.post("/v1/failures/retry", params={"prefix": "a/", "bucket": "images"})
    assert [event.key for event in events(gallery.sent)] == ["a/1.jpg"]
    answer = await client.post("/v1/failures/retry", params={"reason": "ugly"})
    assert answer.status_code == 422
    assert (await client.post("/v1/failures/retry", params={"cursor": "x"})).json()["errors"][0]["field"] == "cursor"
    assert (await client.post("/v1/failures/retry", params={"reason": "too_large"})).json() == {
        "sent": 0,
        "next_cursor": None,
    }


async def test_a_watch_is_told_the_keys_before_the_first_hint_can_be_acted_on(
    gallery: Gallery, engine: FakeEngine, index: VectorIndex
) -> None:
    order: list[object] = []

    class Watched(Sent):
        async def publish(self, messages: Sequence[Message]) -> None:
            order.append(len(messages))

    point = rejected("bad.jpg")
    await index.write([point])
    parts = OneImage(hints=Hints(Watched(), before=lambda keys: order.append(list(keys))))
    async with client_of(gallery.app(engine, parts)) as client:
        assert (await client.post(f"/v1/images/{point.id}/retry")).status_code == 202
    assert order == [["bad.jpg"], 1]


async def test_a_pipeline_that_is_full_or_away_is_said_to_be(
    gallery: Gallery, engine: FakeEngine, index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        async def publish(self, messages: Sequence[Message]) -> None:
            raise DependencyUnavailable("kafka", "no broker answers", "Look at the brokers")

    point = rejected("bad.jpg")
    await index.write([point])
    async with client_of(gallery.app(engine, OneImage(hints=Hints(Away())))) as client:
        answer = await client.post(f"/v1/images/{point.id}/retry")
        assert (answer.status_code, answer.json()["remedy"]) == (503, "Look at the brokers")
    monkeypatch.setattr(retry, "PUBLISH_SECONDS", 0.05)
    topic = InProcessTopic("image-events", lanes=1, capacity=1)
    await topic.publisher().publish([Message(b"k", b"v")])
    async with client_of(gallery.app(engine, OneImage(hints=Hints(topic.publisher())))) as client:
        answer = await asyncio.wait_for(client.post(f"/v1/images/{point.id}/retry"), 5)
    assert answer.status_code == 503
    assert "takes no more hints" in answer.json()["detail"]
    assert topic.unfinished == 1, "what was not taken is not counted as under way"
