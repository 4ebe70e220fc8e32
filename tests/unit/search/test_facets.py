"""Tags, facets and statistics: counts of what matches."""

from datetime import UTC, datetime
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from runtime.probes import Probes
from schemas.collection import Status
from services.search.api import create_app
from services.search.limits import STATISTICS_ROWS
from tests.unit.search.conftest import client_of, image_point, made_for, rejected
from tests.unit.search.fakes import FakeEngine, FakeIndex


def _tags(*names: str) -> list[dict[str, object]]:
    return [{"tag": name, "score": 0.9 - 0.3 * number} for number, name in enumerate(names)]


@pytest.fixture
async def index(engine: FakeEngine) -> FakeIndex:
    index = FakeIndex()
    await index.ensure(made_for(engine.encoder.identity))
    await index.write(
        [
            image_point(
                "a.jpg", tags=_tags("beach", "sea"), camera="R6", format="jpeg", taken_at=_at("2024-02-28T23:59")
            ),
            image_point("b.jpg", tags=_tags("sea", "beach"), camera="R6", format="jpeg", taken_at=_at("2024-03-01")),
            image_point("c.png", tags=_tags("beach"), format="png", bucket="other", taken_at=_at("2025-03-01")),
            image_point("d.png", uploaded_at=_at("2020-01-01")),
            rejected("bad.jpg"),
            image_point("gone.jpg", status=Status.GONE),
        ]
    )
    return index


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def _get(client: httpx.AsyncClient, path: str, **parameters: str) -> dict[str, object]:
    answer = await client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


async def test_tags_are_counted_most_frequent_first_beside_the_number_of_images(client: httpx.AsyncClient) -> None:
    assert await _get(client, "/v1/tags") == {
        "tags": [{"tag": "beach", "count": 3}, {"tag": "sea", "count": 2}],
        "images": 4,
    }
    assert (await _get(client, "/v1/tags", limit="1"))["tags"] == [{"tag": "beach", "count": 3}]


@pytest.mark.parametrize(
    "conditions", [{"tag": "sea"}, {"camera": "R6"}, {"filter": '{"all": [{"format": "jpeg"}, {"not": {"tag": "x"}}]}'}]
)
async def test_counts_are_of_the_images_that_the_filters_leave(
    client: httpx.AsyncClient, conditions: dict[str, str]
) -> None:
    body = await _get(client, "/v1/tags", **conditions)
    assert body == {"tags": [{"tag": "beach", "count": 2}, {"tag": "sea", "count": 2}], "images": 2}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("bucket", [("images", 3), ("other", 1)]),
        ("camera", [("R6", 2)]),
        ("format", [("jpeg", 2), ("png", 1)]),
        ("tag", [("beach", 3), ("sea", 2)]),
        ("reason", [("not_an_image", 1)]),
        ("status", [("indexed", 4), ("gone", 1), ("rejected", 1)]),
    ],
)
async def test_every_field_has_its_values(
    client: httpx.AsyncClient, field: str, expected: list[tuple[str, int]]
) -> None:
    assert await _get(client, "/v1/facets", field=field) == {
        "field": field,
        "values": [{"value": value, "count": count} for value, count in expected],
    }


async def test_months_come_in_order_without_gaps(client: httpx.AsyncClient) -> None:
    body = await _get(client, "/v1/statistics", taken_before="2024-12-31", per="month")
    assert body == {
        "per": "month",
        "date": "taken",
        "rows": [
            {"from": "2024-02-01T00:00:00Z", "to": "2024-03-01T00:00:00Z", "count": 1},
            {"from": "2024-03-01T00:00:00Z", "to": "2024-04-01T00:00:00Z", "count": 1},
        ],
    }
    rows = (await _get(client, "/v1/statistics"))["rows"]
    assert [row["count"] for row in rows] == [1, 1, *[0] * 11, 1]  # type: ignore[attr-defined]


async def test_days_years_and_the_other_date(client: httpx.AsyncClient) -> None:
    days = (await _get(client, "/v1/statistics", per="day", bucket="images"))["rows"]
    assert [(row["from"][:10], row["count"]) for row in days] == [  # type: ignore[attr-defined]
        ("2024-02-28", 1),
        ("2024-02-29", 0),
        ("2024-03-01", 1),
    ]
    years = (await _get(client, "/v1/statistics", per="year"))["rows"]
    assert [(row["from"][:4], row["count"]) for row in years] == [("2024", 2), ("2025", 1)]  # type: ignore[attr-defined]
    uploaded = await _get(client, "/v1/statistics", per="day", date="uploaded")
    assert [row["count"] for row in uploaded["rows"]] == [1]  # type: ignore[attr-defined]


async def test_buckets_and_cameras_are_counted_by_value(client: httpx.AsyncClient) -> None:
    assert await _get(client, "/v1/statistics", per="bucket") == {
        "per": "bucket",
        "date": None,
        "rows": [{"value": "images", "count": 3}, {"value": "other", "count": 1}],
    }
    assert (await _get(client, "/v1/statistics", per="camera"))["rows"] == [{"value": "R6", "count": 2}]


async def test_more_rows_than_fit_are_refused_with_what_to_do(client: httpx.AsyncClient, index: FakeIndex) -> None:
    await index.write(
        [image_point("old.jpg", taken_at=_at("2023-01-01")), image_point("no.jpg", taken_at=_at("2024-02-04"))]
    )
    fits = await _get(client, "/v1/statistics", per="day", taken_before="2024-02-05")
    assert len(fits["rows"]) == STATISTICS_ROWS  # type: ignore[arg-type]
    answer = await client.get("/v1/statistics", params={"per": "day", "taken_before": "2024-03-01"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "per"
    assert "per=month" in answer.json()["remedy"]


@pytest.mark.parametrize("year", [1, 9999])
async def test_the_first_and_the_last_year_are_counted_too(
    client: httpx.AsyncClient, index: FakeIndex, year: int
) -> None:
    await index.write([image_point("far.jpg", bucket="far", taken_at=datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC))])
    for per in ("day", "month", "year"):
        rows = (await _get(client, "/v1/statistics", per=per, bucket="far"))["rows"]
        assert [row["count"] for row in rows] == [1]  # type: ignore[attr-defined]


@settings(max_examples=30, deadline=None)
@given(
    dates=st.lists(st.datetimes(datetime(2020, 1, 1), datetime(2020, 12, 31), timezones=st.just(UTC)), max_size=12),
    per=st.sampled_from(["day", "month", "year"]),
)
async def test_every_dated_image_is_in_exactly_one_row(dates: list[datetime], per: str) -> None:
    engine, index = FakeEngine(), FakeIndex()
    await index.ensure(made_for(engine.encoder.identity))
    await index.write([image_point(f"{number}.jpg", taken_at=date) for number, date in enumerate(dates)])
    app = create_app(index, engine, probes=Probes(), registry=CollectorRegistry())
    async with client_of(app) as client:
        rows = (await client.get("/v1/statistics", params={"per": per})).json()["rows"]
    spans = [(datetime.fromisoformat(row["from"]), datetime.fromisoformat(row["to"]), row["count"]) for row in rows]
    assert sum(count for _, _, count in spans) == len(dates)
    assert all(count == sum(start <= date < end for date in dates) for start, end, count in spans)
    assert all(one[1] == next_one[0] for one, next_one in pairwise(spans))
    if spans:
        assert spans[0][2] > 0
        assert spans[-1][2] > 0


@pytest.mark.parametrize("path", ["/v1/facets", "/v1/facets?field=key", "/v1/statistics?per=week", "/v1/tags?limit=0"])
async def test_what_cannot_be_counted_is_refused(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 422


async def test_without_a_collection_there_is_nothing_to_count(engine: FakeEngine) -> None:
    app = create_app(FakeIndex(), engine, probes=Probes(), registry=CollectorRegistry())
    async with client_of(app) as client:
        assert await _get(client, "/v1/tags") == {"tags": [], "images": 0}
        assert (await _get(client, "/v1/facets", field="bucket"))["values"] == []
        assert (await _get(client, "/v1/statistics"))["rows"] == []
