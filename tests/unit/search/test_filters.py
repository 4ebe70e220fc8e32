"""Filters: every condition on every route that has them, and the tree in JSON against a plain reading of it."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.collection import PointPayload
from services.search.filters.conditions import timestamp
from services.search.filters.filter_json import filter_of, filter_of_text
from services.search.limits import FILTER_DEPTH, FILTER_LEAVES
from services.search.problems import Problem
from stores.vectors import Point
from tests.unit.search.conftest import image_point, made_for
from tests.unit.search.fakes import FakeEngine, FakeIndex
from tests.unit.stores.filter_evaluation import holds


@pytest.fixture
async def index(engine: FakeEngine) -> FakeIndex:
    index = FakeIndex()
    await index.ensure(made_for(engine.encoder.identity))
    await index.write(PICTURES)
    return index


def _picture(key: str, **fields: object) -> Point:
    return image_point(key, **fields)


PICTURES = [
    _picture(
        "a/beach.jpg",
        camera="Canon EOS R6",
        format="jpeg",
        size=100,
        taken_at=datetime(2024, 5, 1, tzinfo=UTC),
        tags=[{"tag": "beach", "score": 0.9}, {"tag": "people", "score": 0.2}],
    ),
    _picture(
        "a/crowd.png",
        camera="Pixel 8",
        format="png",
        size=200,
        taken_at=datetime(2024, 6, 1, tzinfo=UTC),
        tags=[{"tag": "beach", "score": 0.3}, {"tag": "people", "score": 0.9}],
    ),
    _picture("b/plain.webp", format="webp", size=300, uploaded_at=datetime(2024, 7, 1, tzinfo=UTC)),
    _picture("b/bare.jpg", bucket="holiday", source="folder"),
]

CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({"camera": "Pixel 8"}, ["a/crowd.png"]),
    ({"camera": "pixel 8"}, []),
    ({"format": "jpg"}, ["a/beach.jpg"]),
    ({"format": "PNG"}, ["a/crowd.png"]),
    ({"size_min": 200}, ["a/crowd.png", "b/plain.webp"]),
    ({"size_max": 200}, ["a/beach.jpg"]),
    ({"size_min": 100, "size_max": 300}, ["a/beach.jpg", "a/crowd.png"]),
    ({"tag": "beach", "tag_score": 0.5}, ["a/beach.jpg"]),
    ({"taken_after": "2024-06-01"}, ["a/crowd.png"]),
    ({"taken_before": "2024-06-01"}, ["a/beach.jpg"]),
    ({"uploaded_after": "2024-01-01"}, ["b/plain.webp"]),
    ({"bucket": "holiday"}, ["b/bare.jpg"]),
    ({"source": "folder"}, ["b/bare.jpg"]),
    ({"prefix": "a/", "camera": "Canon EOS R6"}, ["a/beach.jpg"]),
]

TREES: list[tuple[dict[str, Any], list[str]]] = [
    *CASES,
    ({"not": {"tag": "people", "tag_score": 0.5}}, ["a/beach.jpg", "b/bare.jpg", "b/plain.webp"]),
    ({"any": [{"camera": "Pixel 8"}, {"bucket": "holiday"}]}, ["a/crowd.png", "b/bare.jpg"]),
    ({"all": [{"tag": "beach"}, {"not": {"camera": "Pixel 8"}}]}, ["a/beach.jpg"]),
    ({"not": {"any": [{"format": "JPEG"}, {"size_min": 300}]}}, ["a/crowd.png", "b/bare.jpg"]),
]


def _keys(answer: httpx.Response, name: str) -> list[str]:
    assert answer.status_code == 200, answer.text
    return sorted(one["key"] for one in answer.json()[name])


@pytest.mark.parametrize(("conditions", "expected"), CASES)
async def test_each_condition_is_a_query_parameter_of_searches_and_listings(
    client: httpx.AsyncClient, conditions: dict[str, Any], expected: list[str]
) -> None:
    assert _keys(await client.get("/v1/search", params={"q": "x", **conditions}), "results") == expected
    assert _keys(await client.post("/v1/search", params=conditions, json={"text": "x"}), "results") == expected
    assert _keys(await client.get("/v1/images", params=conditions), "images") == expected


@pytest.mark.parametrize(("tree", "expected"), TREES)
async def test_a_tree_means_the_same_in_the_address_line_in_json_and_in_a_form(
    client: httpx.AsyncClient, tree: dict[str, Any], expected: list[str]
) -> None:
    text = json.dumps(tree)
    assert _keys(await client.get("/v1/search", params={"q": "x", "filter": text}), "results") == expected
    assert _keys(await client.post("/v1/search", json={"text": "x", "filter": tree}), "results") == expected
    form: dict[str, Any] = {"image": ("a.jpg", b"IMG"), "filter": (None, text)}
    assert _keys(await client.post("/v1/search", files=form), "results") == expected
    assert _keys(await client.get("/v1/images", params={"filter": text}), "images") == expected


async def test_a_tree_and_parameters_hold_together(client: httpx.AsyncClient) -> None:
    options = {"q": "x", "prefix": "a/", "filter": '{"not": {"camera": "Pixel 8"}}'}
    assert _keys(await client.get("/v1/search", params=options), "results") == ["a/beach.jpg"]
    body = {"text": "x", "filter": {"tag": "people"}}
    assert _keys(await client.post("/v1/search?size_min=200", json=body), "results") == ["a/crowd.png"]


WRONG: list[tuple[Any, str]] = [
    ([], "filter"),
    ("tag", "filter"),
    ({}, "filter"),
    ({"colour": "red"}, "filter.colour"),
    ({"tag": 5}, "filter.tag"),
    ({"tag_score": 0.5}, "filter.tag_score"),
    ({"all": [{"tag": "a"}, {"tag": "b", "tag_score": 2}]}, "filter.all.1.tag_score"),
    ({"any": [{"not": {"taken_after": "yesterday"}}]}, "filter.any.0.not.taken_after"),
    ({"all": {"tag": "a"}}, "filter.all"),
    ({"all": []}, "filter.all"),
    ({"any": "beach"}, "filter.any"),
    ({"not": [{"tag": "a"}]}, "filter.not"),
    ({"all": [None]}, "filter.all.0"),
    ({"all": [{}]}, "filter.all.0"),
    ({"all": [{"tag": "a"}], "tag": "b"}, "filter"),
    ({"any": [{"tag": "a"}], "all": [{"tag": "b"}]}, "filter"),
    ({"size_min": -1}, "filter.size_min"),
    ({"bucket": "a/b"}, "filter.bucket"),
]


@pytest.mark.parametrize(("tree", "field"), WRONG)
async def test_what_is_wrong_in_a_tree_is_named_by_its_path(client: httpx.AsyncClient, tree: Any, field: str) -> None:
    asked = client.post("/v1/search", json={"text": "x", "filter": tree})
    listed = client.get("/v1/images", params={"filter": json.dumps(tree)})
    for answer in (await asked, await listed):
        assert answer.status_code == 422, answer.text
        assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("text", ["", "{", "{'tag': 'a'}", '{"tag": NaN}', "[" * 5000, '{"tag_score": Infinity}'])
async def test_a_filter_that_is_no_json_is_named(client: httpx.AsyncClient, text: str) -> None:
    answer = await client.get("/v1/images", params={"filter": text})
    assert [error["field"] for error in answer.json()["errors"]] == ["filter"]


def _nested(levels: int) -> dict[str, Any]:
    return {"tag": "a"} if levels == 1 else {"not": _nested(levels - 1)}


def test_a_tree_may_be_six_levels_deep_and_no_deeper() -> None:
    filter_of(_nested(FILTER_DEPTH))
    with pytest.raises(Problem) as refused:
        filter_of(_nested(FILTER_DEPTH + 1))
    assert refused.value.members["errors"][0]["field"] == "filter" + ".not" * (FILTER_DEPTH - 1)  # type: ignore[index]


def test_a_tree_may_have_64_leaves_wherever_they_are_and_no_more() -> None:
    half = {"any": [{"tag": "a"}] * (FILTER_LEAVES // 2)}
    filter_of({"all": [half, half]})
    with pytest.raises(Problem) as refused:
        filter_of({"all": [half, half, {"tag": "a"}]})
    assert refused.value.members["errors"][0]["field"] == "filter"  # type: ignore[index]


TAGS = st.sampled_from(["a", "b", "c"])
SCORES = st.sampled_from([0.0, 0.25, 0.5, 1.0])
DAYS = st.sampled_from(["2024-01-01", "2024-01-02", "2024-01-03"])
SIZES = st.sampled_from([0, 10, 20])

LEAVES = st.one_of(
    st.fixed_dictionaries({"tag": TAGS}, optional={"tag_score": SCORES, "bucket": st.sampled_from(["x", "y"])}),
    st.fixed_dictionaries({"camera": TAGS}, optional={"taken_after": DAYS, "size_min": SIZES}),
    st.fixed_dictionaries({"format": st.sampled_from(["JPEG", "png"])}, optional={"taken_before": DAYS}),
    st.fixed_dictionaries({"prefix": TAGS}, optional={"size_max": SIZES}),
    st.fixed_dictionaries({"uploaded_after": DAYS}, optional={"uploaded_before": DAYS}),
)


def _trees(levels: int) -> st.SearchStrategy[Any]:
    if levels == 1:
        return LEAVES
    inner = _trees(levels - 1)
    some = st.lists(inner, min_size=1, max_size=2)
    return st.one_of(
        LEAVES,
        some.map(lambda parts: {"all": parts}),
        some.map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    )


PAYLOADS = st.builds(
    lambda key, **fields: image_point(key, **{name: one for name, one in fields.items() if one is not None}).payload,
    key=st.sampled_from(["a1", "b2", "c3"]),
    bucket=st.sampled_from(["x", "y"]),
    camera=st.none() | TAGS,
    format=st.sampled_from([None, "jpeg", "png"]),
    size=st.none() | st.sampled_from([5, 10, 20]),
    taken_at=st.none() | DAYS.map(timestamp),
    uploaded_at=st.none() | DAYS.map(timestamp),
    tags=st.lists(st.fixed_dictionaries({"tag": TAGS, "score": SCORES}), max_size=2, unique_by=lambda one: one["tag"]),
)


def _fits(tree: Any, payload: PointPayload) -> bool:
    """The tree read plainly, with none of the service's code."""
    if "all" in tree:
        return all(_fits(part, payload) for part in tree["all"])
    if "any" in tree:
        return any(_fits(part, payload) for part in tree["any"])
    if "not" in tree:
        return not _fits(tree["not"], payload)
    plain = {"bucket": payload.bucket, "camera": payload.camera, "format": payload.format}
    for name, wanted in tree.items():
        if name in plain and plain[name] != (wanted.lower() if name == "format" else wanted):
            return False
        if name == "prefix" and not payload.key.startswith(wanted):
            return False
        if name == "tag" and not any(
            one.tag == wanted and one.score >= tree.get("tag_score", 0) for one in payload.tags
        ):
            return False
        if name.startswith(("taken", "uploaded", "size")):
            field, _, bound = name.partition("_")
            value: Any = payload.size if field == "size" else getattr(payload, f"{field}_at")
            limit: Any = wanted if field == "size" else datetime.fromisoformat(wanted).replace(tzinfo=UTC)
            if value is None or (value < limit if bound in ("after", "min") else value >= limit):
                return False
    return True


@given(tree=_trees(4), payload=PAYLOADS)
def test_any_tree_means_what_a_plain_reading_of_it_means(tree: Any, payload: PointPayload) -> None:
    assert holds(filter_of(tree), payload) == _fits(tree, payload)
    assert filter_of_text(json.dumps(tree)) == filter_of(tree)


@given(
    tree=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["all", "any", "not", "tag", "tag_score", "size_min", "x"]), inner, max_size=3
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_is_sent_as_a_tree_is_read_or_refused_with_a_path(tree: Any) -> None:
    refused: Problem | None = None
    try:
        filter_of(tree)
    except Problem as problem:
        refused = problem
    if refused is not None:
        assert refused.status == 422
        assert all(one["field"].startswith("filter") for one in refused.members["errors"])  # type: ignore[attr-defined]
