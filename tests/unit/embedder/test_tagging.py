"""Tags in the embedder: who waits for the tagger, what happens where there is none, and what leaves without leave."""

import asyncio
import logging
import struct
from typing import Any

import numpy as np
import pytest

from encoders.encoder import Scoring
from encoders.engine import EncodedImage
from encoders.tagger import Tagger, TagsImpossible
from encoders.vocabulary import make_vocabulary
from runtime.log import Log
from runtime.stage import Emit, Outcome
from schemas.codec import encode
from schemas.events import ImageEmbedded, ImageFacts, Location
from services.embedder.tagging import Tagging
from tests.unit.embedder.test_stage import IDENTITY, FakeEngine, FakeStore, hint, judge, stage_on, vector_of

TAGGER = Tagger(
    make_vocabulary(["mug", "jug", "rug"], defaults=False),
    np.eye(3, 4, dtype=np.float32),
    Scoring("softmax", 10.0),
    encoder=IDENTITY,
    top_k=2,
)


class Building:
    """Builds `TAGGER` when told; every failure is raised once, in order."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def build(self) -> Tagger:
        self.calls += 1
        await self.may_end.wait()
        if self.failures:
            raise self.failures.pop(0)
        return TAGGER


def embedded(outcome: Outcome) -> ImageEmbedded:
    assert isinstance(outcome, Emit)
    (event,) = outcome.events
    assert isinstance(event, ImageEmbedded)
    return event


async def embed_one(tagging: Tagging | None, **options: Any) -> ImageEmbedded:
    store = FakeStore()
    store.put("a.png", b"a")
    async with stage_on(store, tagging=tagging, **options) as stage:
        (outcome,) = await judge(stage, hint("a.png"))
    return embedded(outcome)


async def test_an_image_carries_the_tags_of_its_vector_and_their_version() -> None:
    event = await embed_one(Tagging(Building().build, Log("test")))
    assert event.tags == TAGGER.tags(np.array([vector_of(b"a")]))[0]
    assert len(event.tags) == 2
    assert event.tags_version == TAGGER.version


async def test_copies_are_tagged_like_the_first() -> None:
    store = FakeStore()
    store.put("a.png", b"same")
    store.put("b.png", b"same")
    async with stage_on(store, tagging=Tagging(Building().build, Log("test"))) as stage:
        one, other = map(embedded, await judge(stage, hint("a.png"), hint("b.png")))
    assert one.tags == other.tags != ()


async def test_a_start_does_not_wait_for_the_tagger_and_no_image_goes_without() -> None:
    building = Building()
    building.may_end.clear()
    store = FakeStore()
    store.put("a.png", b"a")
    async with stage_on(store, tagging=Tagging(building.build, Log("test"))) as stage:
        work = asyncio.create_task(judge(stage, hint("a.png")))
        for _ in range(50):
            await asyncio.sleep(0)
        assert building.calls == 1
        assert not work.done()
        building.may_end.set()
        assert embedded((await work)[0]).tags


async def test_a_stage_that_ends_early_leaves_nothing_running() -> None:
    building = Building()
    building.may_end.clear()
    before = asyncio.all_tasks()
    async with stage_on(FakeStore(), tagging=Tagging(building.build, Log("test"))):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_a_model_that_cannot_tag_still_embeds_and_says_once_why(caplog: pytest.LogCaptureFixture) -> None:
    building = Building(TagsImpossible("its words name no pictures"))
    store = FakeStore()
    for n in range(9):
        store.put(f"{n}.png", b"%d" % n)
    with caplog.at_level(logging.INFO):
        async with stage_on(store, tagging=Tagging(building.build, Log("test"))) as stage:
            for _ in range(2):
                for outcome in await judge(stage, *(hint(f"{n}.png") for n in range(9))):
                    assert (embedded(outcome).tags, embedded(outcome).tags_version) == ((), None)
    assert building.calls == 1
    (record,) = caplog.records
    assert "its words name no pictures" in record.message


async def test_any_other_failure_is_the_batchs_and_the_next_batch_builds_again() -> None:
    # The first attempt is the one in the background.
    building = Building(RuntimeError("the device fell off"), RuntimeError("and again"))
    store = FakeStore()
    store.put("a.png", b"a")
    async with stage_on(store, tagging=Tagging(building.build, Log("test"))) as stage:
        with pytest.raises(RuntimeError, match="and again"):
            await judge(stage, hint("a.png"))
        assert embedded((await judge(stage, hint("a.png")))[0]).tags


async def test_without_tagging_there_are_no_tags() -> None:
    event = await embed_one(None)
    assert (event.tags, event.tags_version) == ((), None)


class TravellingEngine(FakeEngine):
    """Every image was taken at one place."""

    async def embed_image(self, data: bytes, **options: Any) -> EncodedImage:
        location = Location(lat=46.5475, lon=7.985)
        return EncodedImage(ImageFacts(width=1, height=1, format="png", location=location), vector_of(data))


@pytest.mark.parametrize("asked", [False, True])
async def test_coordinates_leave_the_embedder_only_where_they_are_asked_for(asked: bool) -> None:
    store = FakeStore()
    store.put("a.png", b"a")
    store.put("copy.png", b"a")
    options: dict[str, Any] = {"with_location": True} if asked else {}
    stage = stage_on(store, TravellingEngine(), **options)
    for outcome in await judge(stage, hint("a.png"), hint("copy.png"), hint("a.png")):
        if isinstance(outcome, Emit):
            assert (embedded(outcome).image.location is not None) == asked
            assert (struct.pack(">d", 46.5475) in encode(embedded(outcome)).value) == asked
