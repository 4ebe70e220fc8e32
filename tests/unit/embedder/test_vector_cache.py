import asyncio
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.engine import EncodedImage
from imaging.decode import BadImage
from schemas.dead_letter import RejectReason
from schemas.events import ImageFacts
from services.embedder.vector_cache import VectorCache


def result(content: str) -> EncodedImage:
    return EncodedImage(ImageFacts(width=1, height=1, format=content), np.zeros(1, dtype=np.float32))


class Passes:
    """Forward passes that wait until they are let go, and count themselves."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, content: str) -> EncodedImage:
        self.begun.append(content)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(content)
            raise
        if self.failure is not None:
            raise self.failure
        return result(content)

    def ask(self, cache: VectorCache, content: str) -> "asyncio.Task[tuple[EncodedImage, bool]]":
        return asyncio.ensure_future(cache.encoded(content, lambda: self(content)))


async def a_moment() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_who_ask_at_once_share_one_pass() -> None:
    cache, passes = VectorCache(10), Passes()
    asking = [passes.ask(cache, "same") for _ in range(100)]
    await a_moment()
    passes.go.set()
    answers = await asyncio.gather(*asking)
    assert passes.begun == ["same"]
    assert sum(reused for _, reused in answers) == 99
    assert {encoded.image.format for encoded, _ in answers} == {"same"}


@pytest.mark.parametrize("who", ["the first", "the last"])
async def test_one_who_gives_up_takes_the_pass_from_nobody(who: str) -> None:
    cache, passes = VectorCache(10), Passes()
    asking = [passes.ask(cache, "same") for _ in range(3)]
    await a_moment()
    asking.pop(0 if who == "the first" else 2).cancel()
    await a_moment()
    passes.go.set()
    assert [encoded.image.format for encoded, _ in await asyncio.gather(*asking)] == ["same", "same"]
    assert (passes.begun, passes.cancelled) == (["same"], [])


async def test_a_pass_that_nobody_waits_for_is_cancelled_and_joined_by_nobody() -> None:
    cache, passes = VectorCache(10), Passes()
    asking = [passes.ask(cache, "same") for _ in range(3)]
    await a_moment()
    for one in asking:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    later = passes.ask(cache, "same")
    passes.go.set()
    encoded, reused = await later
    assert (encoded.image.format, reused) == ("same", False)
    assert passes.begun == ["same", "same"]
    assert passes.cancelled == ["same"]


@pytest.mark.parametrize("failure", [BadImage(RejectReason.DECODE_FAILED, "broken"), ZeroDivisionError()], ids=repr)
async def test_a_failure_is_told_to_all_who_wait_and_is_not_kept(failure: Exception) -> None:
    cache, passes = VectorCache(10), Passes(failure)
    asking = [passes.ask(cache, "same") for _ in range(3)]
    await a_moment()
    passes.go.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert answers == [failure] * 3
    passes.failure = None
    _, reused = await passes.ask(cache, "same")
    assert not reused


async def test_the_least_recently_used_goes_first_and_no_more_are_kept_than_allowed() -> None:
    cache, passes = VectorCache(2), Passes()
    passes.go.set()
    for content in ("a", "b", "a", "c", "a", "b"):
        await passes.ask(cache, content)
    assert passes.begun == ["a", "b", "c", "b"]


async def test_a_cache_of_no_entries_shares_what_is_under_way_and_keeps_nothing() -> None:
    cache, passes = VectorCache(0), Passes()
    passes.go.set()
    await asyncio.gather(passes.ask(cache, "a"), passes.ask(cache, "a"))
    await passes.ask(cache, "a")
    assert passes.begun == ["a", "a"]


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), entries=st.integers(0, 3), kinds=st.lists(st.sampled_from("abcABC"), max_size=40))
def test_in_any_order_with_any_cancellation_everybody_gets_the_answer_to_what_was_asked(
    seed: int, entries: int, kinds: list[str]
) -> None:
    chance = random.Random(seed)

    async def embed(content: str) -> EncodedImage:
        for _ in range(chance.randrange(5)):
            await asyncio.sleep(0)
        if content == "c":
            raise BadImage(RejectReason.DECODE_FAILED, content)
        return result(content)

    async def ask(cache: VectorCache, kind: str) -> None:
        for _ in range(chance.randrange(5)):
            await asyncio.sleep(0)
        content = kind.lower()
        task = asyncio.ensure_future(cache.encoded(content, lambda: embed(content)))
        if kind.isupper():
            for _ in range(chance.randrange(5)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        elif kind == "c":
            with pytest.raises(BadImage):
                await task
        else:
            assert (await task)[0].image.format == content

    async def scenario() -> None:
        cache = VectorCache(entries)
        await asyncio.wait_for(asyncio.gather(*(ask(cache, kind) for kind in kinds)), 20)

    asyncio.run(scenario())
