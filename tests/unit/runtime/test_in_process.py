import asyncio
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.in_process import InProcessConsumer, InProcessTopic
from runtime.stage import Emit, Item, Outcome
from schemas.codec import decode_image_event, encode
from schemas.errors import DependencyUnavailable
from schemas.events import ImageEvent
from tests.unit.runtime.stages import Recorder, ScriptedStage, echo, event, message, worker_for


@settings(max_examples=40, deadline=None)
@given(keys=st.lists(st.sampled_from("abcdefgh"), max_size=60), lanes=st.integers(1, 5), batch=st.integers(1, 9))
def test_records_of_one_key_stay_in_order_and_none_is_lost(keys: list[str], lanes: int, batch: int) -> None:
    async def scenario() -> None:
        topic = InProcessTopic("t", lanes=lanes, capacity=10)
        stage, recorder, stop = ScriptedStage(), Recorder(), asyncio.Event()
        consumer = InProcessConsumer(topic, worker_for(stage, recorder), batch_records=batch)
        running = asyncio.create_task(consumer.run(stop))
        for number, key in enumerate(keys):
            await topic.put(encode(event(key, after=number)))
        await topic.idle()
        stop.set()
        await running
        emitted = [decode_image_event(sent.value) for sent in recorder.messages]
        for key in set(keys):
            numbers = [number for number, one in enumerate(keys) if one == key]
            assert [one.after for one in emitted if one.key == key] == numbers
        assert len(emitted) == len(keys) == topic.published
        assert topic.unfinished == 0

    asyncio.run(scenario())


async def test_one_key_is_in_flight_once_at_a_time() -> None:
    topic = InProcessTopic("t", lanes=4, capacity=100)
    stop, busy, most = asyncio.Event(), 0, 0

    class Slow(ScriptedStage):
        async def process(self, items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0)
            busy -= 1
            return await super().process(items)

    consumer = InProcessConsumer(topic, worker_for(Slow(), Recorder()), batch_records=1)
    running = asyncio.create_task(consumer.run(stop))
    for _ in range(30):
        await topic.put(message("same"))
    await topic.idle()
    stop.set()
    await running
    assert most == 1


async def test_a_full_topic_makes_its_publisher_wait() -> None:
    topic = InProcessTopic("t", lanes=1, capacity=3)
    publishing = asyncio.create_task(topic.publisher().publish([message("a")] * 10))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not publishing.done()
    stop = asyncio.Event()
    running = asyncio.create_task(InProcessConsumer(topic, worker_for(ScriptedStage(), Recorder())).run(stop))
    await asyncio.wait_for(publishing, 5)
    await topic.idle()
    stop.set()
    await running


async def test_a_batch_that_failed_is_offered_again_first() -> None:
    topic = InProcessTopic("t", lanes=1, capacity=10)
    await topic.publisher().publish([message("a"), message("b")])

    def fail(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        raise ZeroDivisionError

    broken = ScriptedStage(fail)
    with pytest.raises(ExceptionGroup):
        await InProcessConsumer(topic, worker_for(broken, Recorder())).run(asyncio.Event())
    assert topic.unfinished == 2
    await topic.put(message("c"))
    recorder, stop = Recorder(), asyncio.Event()
    running = asyncio.create_task(InProcessConsumer(topic, worker_for(ScriptedStage(), recorder)).run(stop))
    await topic.idle()
    stop.set()
    await running
    assert recorder.keys() == ["a", "b", "c"]


async def test_a_stop_ends_a_wait_for_a_dependency_and_leaves_the_batch() -> None:
    topic = InProcessTopic("t", lanes=2, capacity=10)
    tried = asyncio.Event()

    def away(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        tried.set()
        raise DependencyUnavailable("s3", "away", "wait")

    stop = asyncio.Event()
    running = asyncio.create_task(InProcessConsumer(topic, worker_for(ScriptedStage(away), Recorder())).run(stop))
    await topic.put(message("a"))
    await tried.wait()
    stop.set()
    await asyncio.wait_for(running, 5)
    assert topic.unfinished == 1


async def test_a_draining_consumer_finishes_what_waits() -> None:
    topic = InProcessTopic("t", lanes=1, capacity=100)
    await topic.publisher().publish([message(f"k{n}") for n in range(20)])
    stop, recorder = asyncio.Event(), Recorder()
    stop.set()
    await InProcessConsumer(topic, worker_for(ScriptedStage(echo), recorder), batch_records=3, drain=True).run(stop)
    assert len(recorder.keys()) == 20


async def test_a_consumer_that_does_not_drain_leaves_what_waits() -> None:
    topic = InProcessTopic("t", lanes=1, capacity=100)
    await topic.publisher().publish([message("k")])
    stop = asyncio.Event()
    stop.set()
    await InProcessConsumer(
        topic, worker_for(ScriptedStage(lambda items: {i.id: Emit(()) for i in items}), Recorder())
    ).run(stop)
    assert topic.unfinished == 1
