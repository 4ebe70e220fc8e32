"""Exports: what is in the file, in each format, and that it is streamed."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from runtime.http import HttpServer
from runtime.probes import Probes
from schemas.errors import DependencyUnavailable
from services.search.api import create_app
from services.search.listing.export import (
    COLUMNS,
    ROW_GROUP,
    CsvWriter,
    JsonLinesWriter,
    ParquetWriter,
    Row,
    row_of,
    shown,
)
from services.search.listing.export_routes import PAGE
from stores.vectors import Page, Where
from tests.unit.search.conftest import client_of, image_point, made_for, rejected
from tests.unit.search.fakes import FakeEngine, FakeIndex


class PagedIndex(FakeIndex):
    """Remembers how much was asked for at a time, and goes away after some pages if told so."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[int] = []
        self.breaks_after: int | None = None

    async def scroll(self, where: Where, *, limit: int, cursor: str | None = None, with_vectors: bool = False) -> Page:
        if self.breaks_after is not None and len(self.limits) >= self.breaks_after:
            raise DependencyUnavailable("qdrant", "no answer", "Start Qdrant")
        self.limits.append(limit)
        return await super().scroll(where, limit=limit, cursor=cursor)


@pytest.fixture
async def index(engine: FakeEngine) -> PagedIndex:
    index = PagedIndex()
    await index.ensure(made_for(engine.encoder.identity))
    return index


async def _export(client: httpx.AsyncClient, kind: str, **options: str | int) -> list[dict[str, Any]]:
    answer = await client.get("/v1/export", params={"format": kind, **options})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"] == f'attachment; filename="images.{kind}"'
    if kind == "csv":
        return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))
    if kind == "jsonl":
        return [json.loads(line) for line in answer.content.splitlines()]
    table: list[dict[str, Any]] = pq.read_table(pa.BufferReader(answer.content)).to_pylist()
    return table


async def test_all_formats_hold_all_that_is_known_of_an_image(client: httpx.AsyncClient, index: FakeIndex) -> None:
    taken = datetime(2024, 5, 15, 12, 30, 0, 250_000, tzinfo=UTC)
    point = image_point(
        'a,"ü"\n1.jpg',
        size=5,
        width=640,
        camera="Canon; R6",
        taken_at=taken,
        location={"lat": 1.5, "lon": -2.5},
        tags=[{"tag": "beach", "score": 0.75}, {"tag": 'a"b', "score": 0.25}],
    )
    await index.write([point, rejected("bad.jpg")])
    (as_json,) = await _export(client, "jsonl")
    assert tuple(as_json) == COLUMNS
    assert as_json["id"] == str(point.id)
    assert as_json["key"] == point.payload.key
    assert as_json["tags"] == [{"tag": "beach", "score": 0.75}, {"tag": 'a"b', "score": 0.25}]
    assert as_json["taken_at"] == "2024-05-15T12:30:00.250000Z"
    assert (as_json["latitude"], as_json["longitude"]) == (1.5, -2.5)
    assert as_json["score"] is None
    (as_csv,) = await _export(client, "csv")
    assert tuple(as_csv) == COLUMNS
    assert as_csv["key"] == point.payload.key
    assert json.loads(as_csv["tags"]) == {"beach": 0.75, 'a"b': 0.25}
    assert as_csv["taken_at"] == as_json["taken_at"]
    assert (as_csv["width"], as_csv["height"], as_csv["score"]) == ("640", "", "")
    (as_table,) = await _export(client, "parquet")
    assert as_table["taken_at"] == taken
    assert {**as_json, "taken_at": taken, "indexed_at": point.payload.indexed_at} == as_table


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
async def test_all_images_that_match_are_exported_once_and_read_page_by_page(
    client: httpx.AsyncClient, index: PagedIndex, kind: str
) -> None:
    await index.write([image_point(f"{number}.jpg", bucket="ab"[number % 2]) for number in range(2 * PAGE + 100)])
    rows = await _export(client, kind, filter='{"bucket": "a"}')
    keys = [row["key"] for row in rows]
    assert len(keys) == len(set(keys)) == PAGE + 50
    assert index.limits == [PAGE, PAGE]
    assert len(await _export(client, kind, limit=PAGE + 1)) == PAGE + 1


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
async def test_results_come_best_first_with_their_scores(
    client: httpx.AsyncClient, index: PagedIndex, kind: str
) -> None:
    await index.write([image_point(f"{number}.jpg") for number in range(PAGE + 50)])
    found = (await client.get("/v1/search", params={"q": "x", "limit": PAGE + 10})).json()["results"]
    rows = await _export(client, kind, q="x", limit=PAGE + 10)
    assert [row["id"] for row in rows] == [one["id"] for one in found]
    assert [float(row["score"]) for row in rows] == [one["score"] for one in found]
    least = found[3]["score"]
    assert len(await _export(client, kind, q="x", threshold=least)) == 4


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
async def test_where_nothing_matches_the_file_is_a_whole_one_without_rows(
    client: httpx.AsyncClient, kind: str, engine: FakeEngine
) -> None:
    assert await _export(client, kind) == []
    assert await _export(client, kind, q="x") == []
    app = create_app(FakeIndex(), engine, probes=Probes(), registry=CollectorRegistry())
    async with client_of(app) as without_collection:
        assert await _export(without_collection, kind) == []


async def test_an_index_that_is_away_is_a_problem_before_the_file_begins_and_breaks_it_off_after(
    client: httpx.AsyncClient, index: PagedIndex, engine: FakeEngine
) -> None:
    await index.write([image_point(f"{number}.jpg") for number in range(2 * PAGE)])
    index.breaks_after = 0
    answer = await client.get("/v1/export?format=csv")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    index.breaks_after = 1
    app = create_app(index, engine, probes=Probes(), registry=CollectorRegistry())
    async with HttpServer(app, "127.0.0.1", 0) as server, httpx.AsyncClient(base_url=server.address) as over_a_socket:
        with pytest.raises(httpx.RemoteProtocolError):  # so that nobody takes a part for the whole
            await over_a_socket.get("/v1/export?format=csv")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "format"),
        ("format=xlsx", "format"),
        ("format=JPEG", "format"),
        ("format=csv&limit=0", "limit"),
        ("format=csv&q=x&limit=10001", "limit"),
        ("format=csv&q=%20", "q"),
        ("format=csv&threshold=0.5", "threshold"),
        ("format=csv&good_only=true", "good_only"),
        ("format=csv&filter={}", "filter"),
    ],
)
async def test_what_cannot_be_exported_is_named(client: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await client.get(f"/v1/export?{query}")
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r", "\n+", " =", "＝", "－"])
def test_a_text_that_a_spreadsheet_would_compute_is_shown(start: str) -> None:
    evil = f"{start}cmd|' /C calc'!A0"
    row = row_of(UUID(int=1), image_point(evil, camera=evil).payload, score=-0.5)
    writer = CsvWriter()
    (read,) = csv.DictReader(io.StringIO((writer.rows([row]) + writer.end()).decode(), newline=""))
    assert read["key"] == read["camera"] == f"'{evil}"
    assert float(read["score"]) == -0.5


@given(text=st.text())
def test_no_cell_begins_like_a_formula_and_all_others_stay(text: str) -> None:
    cell = shown(text)
    assert cell.lstrip()[:1] not in tuple("=+-@＝＋－＠")
    assert cell == text or cell == f"'{text}"


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(keys=st.lists(KEYS, max_size=5))
def test_any_key_reads_back_from_every_format(keys: list[str]) -> None:
    rows = [row_of(UUID(int=number), image_point(key).payload) for number, key in enumerate(keys)]
    lines = _written(JsonLinesWriter(), rows).splitlines()
    assert [json.loads(line)["key"] for line in lines] == keys
    table = pq.read_table(pa.BufferReader(_written(ParquetWriter(), rows)))
    assert table.column("key").to_pylist() == keys
    read = list(csv.DictReader(io.StringIO(_written(CsvWriter(), rows).decode(), newline="")))
    assert [row["key"] for row in read] == [shown(key) for key in keys]


def _written(writer: Any, rows: Sequence[Row]) -> bytes:
    data: bytes = writer.rows(rows) + writer.end()
    return data


def test_parquet_lets_go_of_every_row_group_as_it_is_full() -> None:
    writer, row = ParquetWriter(), row_of(UUID(int=1), image_point("a.jpg").payload)
    writer.rows([row] * (ROW_GROUP - 1))
    data = b""
    for _ in range(3):
        piece = writer.rows([row] * ROW_GROUP)
        assert piece
        data += piece
    assert len(writer._waiting) < ROW_GROUP


async def test_parquet_without_pyarrow_is_a_problem_that_names_other_formats(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    answer = await client.get("/v1/export?format=parquet")
    assert answer.status_code == 501
    assert "format=csv" in answer.json()["remedy"]
    assert (await client.get("/v1/export?format=csv")).status_code == 200
