"""`reconcile` against a search service that allows it so many requests a second."""

from collections.abc import Callable
from uuid import UUID, uuid4

import httpx
import pytest

from cli.reconcile_on_kafka import ServedIndex
from schemas.errors import DependencyUnavailable
from sightline_client.patience import Patience
from tests.unit.search.conftest import image_point

Answering = Callable[[httpx.Request], httpx.Response]

BUSY = httpx.codes.TOO_MANY_REQUESTS


def served(answer: Answering, **more: Patience) -> ServedIndex:
    return ServedIndex(httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://search"), **more)


async def test_a_service_that_is_asked_too_often_is_waited_for() -> None:
    points = {one.id: one for one in (image_point(f"{number}.jpg") for number in range(40))}
    asked: list[UUID] = []

    def answer(request: httpx.Request) -> httpx.Response:
        one = UUID(request.url.path.rpartition("/")[2])
        asked.append(one)
        if asked.count(one) == 1:
            return httpx.Response(BUSY, headers={"Retry-After": "0"}, json={"detail": "too often"})
        if one not in points:
            return httpx.Response(404, json={"detail": "no such image"})
        return httpx.Response(200, json={"id": str(one), "payload": points[one].payload.as_json()})

    found = await served(answer).get([*points, uuid4()])
    assert {one.id for one in found} == set(points)
    assert len(asked) == 2 * 41


@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {"Retry-After": "3600"}, {}])
async def test_a_service_that_never_has_time_is_unavailable(headers: dict[str, str]) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(BUSY, headers=headers)

    with pytest.raises(DependencyUnavailable, match=r"http://search.*REQUESTS_PER_SECOND"):
        await served(answer, patience=Patience(attempts=3)).encoder()
    assert len(asked) == (3 if headers.get("Retry-After") == "0" else 1)
