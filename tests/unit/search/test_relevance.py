"""Relevance: what its cut finds, what moves it and what does not, and when there is none."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.relevance import best_cut, figures, steps_of
from benchmarks.relevance_questions import Questions
from encoders.encoder import Modality
from encoders.registry import make_encoder
from imaging.sample_scenes import Pictures, plural
from imaging.scenes import COLOURS, UNSEEN_PATTERNS
from imaging.scenes import Background as Ground
from runtime.probes import Probes
from schemas.collection import CollectionMetadata
from schemas.errors import ConfigurationError, DependencyUnavailable
from services.search.api import create_app
from services.search.collection import Collection
from services.search.ranking import relevance
from services.search.ranking.relevance import CUT, LEAST_SAMPLE, USUAL_WORDS, Background, Calibration, Scale
from stores.cursor import cursor_at
from stores.vectors import VectorIndex, VectorPage, Where
from tests.unit.search.conftest import client_of, image_point
from tests.unit.search.fakes import FakeEngine, FakeIndex, identity, unit_vector

RANDOM = 5


def scenes_and_questions() -> Questions:
    """Two of three names of the sample pictures are shown, some often; all names, and images, are asked for."""
    encoder, pictures, random = make_encoder("sightline-small"), Pictures(), np.random.default_rng(RANDOM)
    encoder.load()

    def vectors_of_images(scenes: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        prepared = []
        for things in scenes:
            ground = Ground(str(random.choice(list(COLOURS))), str(random.choice(UNSEEN_PATTERNS)))
            drawn = pictures.draw([(one, 1) for one in things], ground, (160, 120), seed=int(random.integers(1 << 32)))
            prepared.append(encoder.prepare(drawn))
        return np.concatenate([encoder.forward(prepared[at : at + 32]) for at in range(0, len(prepared), 32)])

    names = random.permutation(pictures.names).tolist()[:90]
    present, absent = names[:60], names[60:]
    chance = 1 / (np.arange(len(present)) + 2.0)
    shown = [random.choice(present, 2, replace=False, p=chance / chance.sum()).tolist() for _ in range(200)]
    shown = [things[: 1 + at % 2] for at, things in enumerate(shown)]
    collection = vectors_of_images(shown)
    asked = [(name, name) for name in names] + [(f"a photo of {plural(name)}", name) for name in names[::3]]
    images = names[::2]
    truth = [[name in things for things in shown] for _, name in asked] + [
        [name in things for things in shown] for name in images
    ]
    pictured = vectors_of_images([[name] for name in images])
    assert set(absent).isdisjoint(name for things in shown for name in things)
    return Questions(
        kinds=["words"] * len(asked) + ["image"] * len(images),
        vectors=np.concatenate([encoder.encode_text([text for text, _ in asked]), pictured]),
        from_images=np.arange(len(asked) + len(images)) >= len(asked),
        right=np.array(truth),
        collection=collection,
        words=encoder.encode_text(USUAL_WORDS),
    )


def test_one_cut_at_relevance_finds_more_of_what_is_right_than_the_best_cut_at_any_one_cosine() -> None:
    asked = scenes_and_questions()
    cosines = asked.vectors @ asked.collection.T
    by_cosine = figures(cosines >= best_cut(cosines, asked), asked)  # chosen knowing the answers
    by_relevance = figures(steps_of(asked) >= CUT, asked)
    assert by_relevance.overall > by_cosine.overall
    assert by_relevance.precision > by_cosine.precision
    assert by_relevance.silent > by_cosine.silent


vectors_of = st.integers(60, 200).flatmap(
    lambda count: st.integers(0, 2**32 - 1).map(
        lambda seed: np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    )
)


@given(vectors_of, st.floats(0, 1))
def test_relevance_rises_with_the_cosine_and_is_a_half_where_good_matches_begin(
    rows: NDArray[np.float32], images: float
) -> None:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scale = Background.of(rows[20:], rows[:20]).scale(rows[0], images)
    assert scale is not None
    values = [scale.relevance(score) for score in np.linspace(-1, 1, 50)]
    assert values == sorted(values)
    assert 0 <= values[0] <= values[-1] <= 1
    assert scale.relevance(scale.good) == pytest.approx(0.5)


def test_right_answers_do_not_raise_the_bar_for_themselves() -> None:
    random = np.random.default_rng(3)
    rows = random.normal(size=(1000, 64)).astype(np.float32)
    query = random.normal(size=64).astype(np.float32)
    query /= np.linalg.norm(query)
    words = random.normal(size=(30, 64)).astype(np.float32)
    few, many = rows.copy(), rows.copy()
    few[:10] += 8 * query
    many[:300] += 8 * query
    cuts = []
    for collection in (few, many):
        unit = collection / np.linalg.norm(collection, axis=1, keepdims=True)
        scale = Background.of(unit, words / np.linalg.norm(words, axis=1, keepdims=True)).scale(query, 0.0)
        assert scale is not None
        cuts.append(scale.good)
        assert scale.relevance(float(np.sort(unit @ query)[-10])) > 0.9
    assert cuts[1] - cuts[0] < 0.1


def test_copies_are_good_matches_even_where_all_images_are_alike() -> None:
    one = unit_vector("all")
    rows = np.stack([one + 0.01 * unit_vector(f"{at}") for at in range(100)])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scale = Background.of(rows, None).scale(rows[0], 1.0)
    assert scale is not None
    assert scale.relevance(float(rows[0] @ rows[0])) > 0.5


class Sampled:
    """A calibration over an index in memory, whose clock is set by hand."""

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.index, self.engine = FakeIndex(), FakeEngine()
        self.index.made = CollectionMetadata(encoder=identity(), created_at=datetime.now(UTC))
        self.add(count)
        self.calibration = Calibration(
            self.index, self.engine, Collection(self.index, clock=lambda: self.now), clock=lambda: self.now
        )

    def add(self, count: int) -> None:
        for at in range(len(self.index.points), len(self.index.points) + count):
            point = image_point(f"{at}.jpg")
            self.index.points[point.id] = point

    async def scale(self, images: float = 0.0) -> Scale | None:
        return await self.calibration.of(unit_vector("query"), images=images)


async def test_a_collection_that_is_too_small_has_no_relevance_until_it_has_grown() -> None:
    sampled = Sampled(LEAST_SAMPLE - 1)
    assert await sampled.scale() is None
    sampled.add(1)
    assert await sampled.scale() is None, "it was looked at a moment ago"
    sampled.now = relevance.GROWING_SECONDS
    assert await sampled.scale() is not None


async def test_the_same_collection_has_the_same_scale_in_every_process() -> None:
    assert await Sampled(1500).scale() == await Sampled(1500).scale()


async def test_a_stale_sample_is_renewed_without_holding_up_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = Sampled(1200)
    first = await sampled.scale()
    released = asyncio.Event()
    scroll = sampled.index.scroll_vectors

    async def held_up(*arguments: object, **named: object) -> object:
        await released.wait()
        return await scroll(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(sampled.index, "scroll_vectors", held_up)
    sampled.index.points.clear()
    sampled.now = relevance.REFRESH_SECONDS
    assert await sampled.scale() == first
    released.set()
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()))
    assert await sampled.scale() is None


async def test_searches_at_the_same_time_share_one_sample() -> None:
    sampled = Sampled(100)
    scales = await asyncio.gather(*(sampled.scale() for _ in range(20)))
    assert len(set(scales)) == 1
    assert sampled.engine.calls == 1


async def test_a_model_that_is_away_leaves_images_their_relevance() -> None:
    sampled = Sampled(100)
    sampled.engine.failure = DependencyUnavailable("model", "it is away", "Wait")
    assert await sampled.scale(images=0.0) is None
    assert await sampled.scale(images=1.0) is not None


async def samples(sampled: Sampled, monkeypatch: pytest.MonkeyPatch, *times: float) -> int:
    """How many samples are made for searches by image at these times."""
    made = 0
    scroll = sampled.index.scroll_vectors

    async def counted(*arguments: object, **named: object) -> object:
        nonlocal made
        made += named["cursor"] == cursor_at(relevance._START)
        return await scroll(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(sampled.index, "scroll_vectors", counted)
    for now in times:
        sampled.now = now
        assert await sampled.scale(images=1.0) is not None
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()))
    return made


async def test_a_sample_of_short_pages_is_whole_and_lasts_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = Sampled(1200)
    scroll = sampled.index.scroll_vectors
    read: list[UUID] = []

    async def short(where: Where, *, limit: int, cursor: str | None = None) -> VectorPage:
        page = await scroll(where, limit=min(limit, 90), cursor=cursor)
        read.extend(page.ids)
        return page

    monkeypatch.setattr(sampled.index, "scroll_vectors", short)
    times = (0.0, relevance.GROWING_SECONDS, relevance.REFRESH_SECONDS - 1)
    assert await samples(sampled, monkeypatch, *times) == 1
    assert relevance.SAMPLE <= len(set(read)) < relevance.SAMPLE + 90
    after = [one for one in sorted(sampled.index.points) if one >= relevance._START]
    assert set(after) <= set(read), "from the start on first, and then from the beginning"


async def test_a_model_that_gives_words_no_vectors_is_not_sampled_over_and_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sampled = Sampled(1200)
    sampled.engine.encoder.modality = Modality.IMAGES
    sampled.engine.failure = ConfigurationError("it knows images only")
    times = (0.0, relevance.GROWING_SECONDS, relevance.REFRESH_SECONDS - 1, relevance.REFRESH_SECONDS)
    assert await samples(sampled, monkeypatch, *times) == 2
    assert not caplog.records


async def test_an_index_of_another_model_is_not_sampled_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = Sampled(1200)
    sampled.engine.encoder.identity = identity("other-def-fp32")
    assert await samples(sampled, monkeypatch, 0.0, relevance.GROWING_SECONDS) == 1


async def test_words_of_a_model_that_was_away_are_tried_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = Sampled(1200)
    sampled.engine.failure = DependencyUnavailable("model", "it is away", "Wait")
    assert await samples(sampled, monkeypatch, 0.0, relevance.GROWING_SECONDS) == 2


async def test_an_index_that_fails_leaves_the_search_to_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = Sampled(100)

    async def away(*arguments: object, **named: object) -> object:
        raise DependencyUnavailable("index", "it is away", "Wait")

    monkeypatch.setattr(sampled.index, "scroll_vectors", away)
    assert await sampled.scale() is None


@pytest.fixture
async def client(index: VectorIndex, engine: FakeEngine) -> httpx.AsyncClient:
    await index.write([image_point(f"{at}.jpg") for at in range(120)])
    from prometheus_client import CollectorRegistry

    return client_of(create_app(index, engine, probes=Probes(), registry=CollectorRegistry()))


async def test_good_only_answers_what_has_a_relevance_of_a_half_on_all_its_pages(client: httpx.AsyncClient) -> None:
    everything = (await client.get("/v1/search?q=IMG 7.jpg&limit=500&fold=false")).json()["results"]
    good = [one["id"] for one in everything if one["relevance"] >= 0.5]
    assert 0 < len(good) < len(everything) == 120
    relevances = [one["relevance"] for one in everything]
    assert relevances == sorted(relevances, reverse=True)
    found, cursor = [], ""
    while True:
        page = await client.get(f"/v1/search?q=IMG 7.jpg&limit=2&fold=false&good_only=true{cursor}")
        found += [one["id"] for one in page.json()["results"]]
        if page.json()["next_cursor"] is None:
            break
        cursor = f"&cursor={page.json()['next_cursor']}"
    assert found == good


async def test_a_small_collection_answers_null_and_good_only_leaves_nothing_out(
    index: VectorIndex, engine: FakeEngine
) -> None:
    from prometheus_client import CollectorRegistry

    await index.write([image_point(f"{at}.jpg") for at in range(5)])
    client = client_of(create_app(index, engine, probes=Probes(), registry=CollectorRegistry()))
    answer = (await client.get("/v1/search?q=x&good_only=true")).json()
    assert [one["relevance"] for one in answer["results"]] == [None] * 5
