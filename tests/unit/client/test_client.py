"""The client without a service: what it sends, what it waits for, and what it says when something is wrong."""

import base64
import inspect
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from sightline_client import (
    AsyncSightline,
    Indexed,
    Picture,
    ProblemError,
    Sightline,
    SightlineUnreachable,
    Words,
    where,
)
from sightline_client.patience import Patience

ONE = UUID("5d3bb3a4-6f0a-5d5e-9a52-1f5a3c0f1b52")
FOUND: dict[str, Any] = {
    "id": str(ONE),
    "bucket": "images",
    "key": "beach.jpg",
    "score": 0.5,
    "payload": {
        "source": "s3",
        "bucket": "images",
        "key": "beach.jpg",
        "status": "indexed",
        "version": 7,
        "model": "tiny",
        "fingerprint": "a-b-c",
        "indexed_at": "2024-06-01T00:00:00Z",
        "a_field_of_a_later_release": 1,
    },
}

Answering = Callable[[httpx.Request], httpx.Response]


def client(answer: Answering, patience: Patience = Patience()) -> Sightline:
    http = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://search")
    return Sightline(api_key="k-123", patience=patience, client=http)


def page(*results: object, next_cursor: str | None = None) -> httpx.Response:
    return httpx.Response(200, json={"results": results, "next_cursor": next_cursor, "took_ms": 1.0})


def sent_for(*arguments: Any, **more: Any) -> dict[str, Any]:
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return page()

    client(answer).search_page(*arguments, **more)
    return bodies[0]


def test_what_a_search_starts_from_is_sent_as_the_api_reads_it() -> None:
    assert sent_for("a fox") == {"text": "a fox"}
    assert sent_for(Indexed(ONE)) == {"id": str(ONE)}
    assert sent_for(Picture(b"PNG")) == {"image_base64": base64.b64encode(b"PNG").decode()}
    assert sent_for("beach", unlike=["people"]) == {
        "like": [{"text": "beach", "weight": 1.0}],
        "unlike": [{"text": "people", "weight": 1.0}],
    }
    assert sent_for(Words("beach", weight=2)) == {"like": [{"text": "beach", "weight": 2}], "unlike": []}
    with pytest.raises(ValueError, match="say what to look for"):
        sent_for()
    with pytest.raises(ValueError, match=r"say what to look for.*`unlike` only tells what to keep away from"):
        sent_for(unlike=["people"])


def test_filters_are_combined_without_needless_depth() -> None:
    both = where(tag="beach", tag_score=0.5) & where(bucket="a") & ~where(camera="Scanner")
    assert both.tree == {"all": [{"tag": "beach", "tag_score": 0.5}, {"bucket": "a"}, {"not": {"camera": "Scanner"}}]}
    either = where(taken_after=date(2024, 5, 1)) | both
    assert either.tree == {"any": [{"taken_after": "2024-05-01"}, both.tree]}
    assert sent_for("x", only=either)["filter"] == either.tree


def test_a_filter_without_conditions_is_every_image() -> None:
    every = where(bucket=None, tag=None)
    beach = where(tag="beach")
    assert sent_for("x", only=every) == {"text": "x"}
    assert (every & beach, beach & every, every & where()) == (beach, beach, every)
    for one, other in ((every, beach), (beach, every)):
        with pytest.raises(ValueError, match="means every image"):
            _ = one | other
    with pytest.raises(ValueError, match="means every image"):
        _ = ~every

    def answer(request: httpx.Request) -> httpx.Response:
        assert "filter" not in request.url.params
        return httpx.Response(200, json={"tags": []} if request.url.path == "/v1/tags" else {"images": []})

    assert not client(answer).tags(only=every)
    assert not list(client(answer).images(only=every))


def test_all_pages_are_asked_for_as_they_are_taken() -> None:
    cursors: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        cursor = request.url.params.get("cursor")
        cursors.append(cursor)
        assert request.headers["authorization"] == "Bearer k-123"
        return page(FOUND, FOUND, next_cursor={None: "b", "b": "c", "c": None}[cursor])

    found = client(answer).search("a fox", page=2)
    assert next(found).key == "beach.jpg"
    assert cursors == [None]
    assert sum(1 for _ in found) == 5
    assert cursors == [None, "b", "c"]


def test_a_busy_service_is_asked_again_and_a_refusal_is_not() -> None:
    statuses = [429, 503, 200]

    def busy(_: httpx.Request) -> httpx.Response:
        status = statuses.pop(0)
        return page(FOUND) if status == 200 else httpx.Response(status, headers={"Retry-After": "0"})

    assert client(busy).search_page("a fox").results[0].score == 0.5
    assert not statuses

    asked = []

    def refuses(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        detail = {"type": "urn:sightline:problem:bad-parameter", "detail": "limit: too much", "remedy": "Ask for less."}
        return httpx.Response(422, json=detail)

    with pytest.raises(ProblemError, match=r"422: limit: too much Ask for less\.") as caught:
        client(refuses).search_page("a fox", limit=10**6)
    assert (caught.value.status, caught.value.type) == (422, "urn:sightline:problem:bad-parameter")
    assert len(asked) == 1


def test_patience_ends() -> None:
    asked = []

    def never(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(429, headers={"Retry-After": "0"}, text="busy")

    with pytest.raises(ProblemError, match="429: busy"):
        client(never, Patience(attempts=3)).status()
    assert len(asked) == 3

    asked.clear()
    with pytest.raises(ProblemError):
        client(lambda request: httpx.Response(503, headers={"Retry-After": "3600"}), Patience(longest=1)).status()


def test_an_address_where_nobody_listens_is_named() -> None:
    def nobody(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(SightlineUnreachable, match="http://search"):
        client(nobody).tags()


async def test_an_export_is_asked_for_again_too(tmp_path: Path) -> None:
    statuses: list[int] = []

    def busy(_: httpx.Request) -> httpx.Response:
        status = statuses.pop(0)
        return httpx.Response(status, headers={"Retry-After": "0"}, content=b"id,key" if status == 200 else b"busy")

    statuses += [503, 429, 200]
    assert client(busy).export(tmp_path / "one.csv") == 6
    statuses += [503, 429, 200]
    async with httpx.AsyncClient(transport=httpx.MockTransport(busy), base_url="http://search") as http:
        assert await AsyncSightline(client=http).export(tmp_path / "two.csv") == 6
    assert not statuses
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes() == b"id,key"


def test_an_export_that_is_refused_writes_nothing(tmp_path: Path) -> None:
    def refuses(_: httpx.Request) -> httpx.Response:
        return httpx.Response(422, json={"detail": "format: no such format"})

    with pytest.raises(ProblemError, match="no such format"):
        client(refuses).export(tmp_path / "all.csv")
    assert not list(tmp_path.iterdir())


def test_both_clients_can_do_the_same() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: [str(one) for one in inspect.signature(method).parameters.values()]
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert methods(Sightline) == methods(AsyncSightline)
