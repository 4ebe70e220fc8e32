"""What every transport must do for a worker, on the in-process queues and on real Kafka."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Protocol

import pytest
from prometheus_client import CollectorRegistry

from runtime.batch import Publisher
from runtime.dead_letters import BudgetPolicy, DeadLetterBudget, PublishedDeadLetters
from runtime.in_process import InProcessConsumer, InProcessTopic
from runtime.log import Log
from runtime.metrics import MetricSet
from runtime.retry import Retry, RetryPolicy
from runtime.stage import Emit, Item, Outcome, Reject
from runtime.worker import Worker
from schemas.codec import Message, decode_dead_letter, decode_image_event, encode
from schemas.dead_letter import RejectReason
from schemas.errors import DependencyUnavailable
from schemas.events import ImageEvent
from tests.integration.kafka.rig import Rig, Stage, echo, event, until

LOG = Log("test.transport")
BATCH_RECORDS = 8

pytestmark = pytest.mark.timeout(60)


class Transport(Protocol):
    """One topic in, one out, one for dead letters, and a consumer that brings the first to a stage."""

    @property
    def source(self) -> Publisher: ...

    def consume(self, stage: Stage, stop: asyncio.Event) -> Awaitable[None]: ...

    async def sent(self) -> list[Message]: ...

    async def letters(self) -> list[Message]: ...

    async def unfinished(self) -> int: ...


class InProcess:
    def __init__(self) -> None:
        self._source = InProcessTopic("image-events", lanes=4, capacity=4 * 64)
        self._letters = InProcessTopic("dead-letters", lanes=1, capacity=10_000)
        self._sink = InProcessTopic("image-embeddings", lanes=4, capacity=10_000)
        self.source = self._source.publisher()
        self.sink = self._sink.publisher()

    def consume(self, stage: Stage, stop: asyncio.Event) -> Awaitable[None]:
        worker = worker_for(stage, self.sink, self._letters.publisher())
        return InProcessConsumer(self._source, worker, batch_records=BATCH_RECORDS).run(stop)

    async def sent(self) -> list[Message]:
        return await self._drain(self._sink)

    async def letters(self) -> list[Message]:
        return await self._drain(self._letters)

    async def unfinished(self) -> int:
        return self._source.unfinished

    @staticmethod
    async def _drain(topic: InProcessTopic) -> list[Message]:
        stop = asyncio.Event()
        stop.set()
        found: list[Message] = []
        for lane in topic.lanes:
            while records := await lane.take(1000, stop, drain=True):
                found += [Message(record.key, record.value, record.headers) for record in records]
                lane.done()
        return found


class OnKafka:
    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.source = rig.source
        self.sink = rig.sink

    def consume(self, stage: Stage, stop: asyncio.Event) -> Awaitable[None]:
        consumer = self._rig.consumer(stage, consumers=2, batch_records=BATCH_RECORDS)
        return consumer.run(stop)

    async def sent(self) -> list[Message]:
        records = await self._rig.everything("image-embeddings")
        return [Message(record.key, record.value, record.headers) for record in records]

    async def letters(self) -> list[Message]:
        records = await self._rig.everything("dead-letters")
        return [Message(record.key, record.value, record.headers) for record in records]

    async def unfinished(self) -> int:
        written = len(await self._rig.everything("image-events"))
        return written - sum((await self._rig.committed()).values())


def worker_for(stage: Stage, sink: Publisher, letters: Publisher) -> Worker[ImageEvent]:
    metrics = MetricSet.make(CollectorRegistry()).stage(stage.name)
    return Worker(
        stage,
        lambda record: decode_image_event(record.value, record.headers),
        sink,
        PublishedDeadLetters(letters),
        metrics=metrics,
        retry=Retry(RetryPolicy(first=0.01, most=0.05), stage=stage.name, metrics=metrics, log=LOG),
        budget=DeadLetterBudget(BudgetPolicy(), LOG),
        log=LOG,
    )


@pytest.fixture(params=["in_process", pytest.param("kafka", marks=pytest.mark.kafka)])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    async with AsyncExitStack() as entered:
        if request.param == "in_process":
            yield InProcess()
        else:
            yield OnKafka(await entered.enter_async_context(Rig.make(request.getfixturevalue("kafka"))))


class Consuming:
    """A consumer at work for the length of a block; told to stop at its end, and waited for."""

    def __init__(self, transport: Transport, stage: Stage) -> None:
        self.stop = asyncio.Event()
        self.task = asyncio.ensure_future(transport.consume(stage, self.stop))

    async def __aenter__(self) -> "Consuming":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        async with asyncio.timeout(20):
            await asyncio.wait([self.task])


def numbered(keys: int, each: int) -> list[Message]:
    return [encode(event(f"key{key}.jpg", after=number)) for number in range(each) for key in range(keys)]


async def test_every_record_arrives_once_and_those_of_a_key_in_order(transport: Transport) -> None:
    seen: list[tuple[str, int]] = []

    async def keep(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        seen.extend((item.event.key, item.event.after) for item in items)
        return await echo(items)

    stage = Stage(keep)
    async with Consuming(transport, stage):
        await transport.source.publish(numbered(keys=5, each=20))
        await until(lambda: len(stage.finished) >= 100)
    assert len(seen) == 100
    for key in range(5):
        assert [after for name, after in seen if name == f"key{key}.jpg"] == list(range(20))
    for key in range(5):
        sent = [decode_image_event(m.value) for m in await _of_key(transport, f"key{key}.jpg")]
        assert [one.after for one in sent] == list(range(20))
        break


async def _of_key(transport: Transport, key: str) -> list[Message]:
    return [message for message in await transport.sent() if decode_image_event(message.value).key == key]


async def test_key_value_and_headers_cross_unchanged(transport: Transport) -> None:
    stage = Stage()
    message = encode(event("ö/a b+%2B.jpg"))
    async with Consuming(transport, stage):
        await transport.source.publish([message])
        await until(lambda: len(stage.finished) == 1)
    (sent,) = await transport.sent()
    assert (sent.key, sent.value) == (message.key, message.value)
    assert dict(sent.headers).keys() == dict(message.headers).keys()


async def test_a_reject_reaches_the_dead_letters_with_its_origin_and_bytes(transport: Transport) -> None:
    async def refuse_one(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        return {
            item.id: Reject(RejectReason.NOT_AN_IMAGE, "a page") if item.event.key == "bad.jpg" else Emit((item.event,))
            for item in items
        }

    stage = Stage(refuse_one)
    bad = encode(event("bad.jpg"))
    async with Consuming(transport, stage):
        await transport.source.publish([encode(event("good.jpg")), bad, Message(b"x", b"no event")])
        await until(lambda: len(stage.finished) == 2)
        await until(lambda: _all_done(transport))
    letters = [decode_dead_letter(message.value) for message in await transport.letters()]
    assert {(letter.reason, letter.original) for letter in letters} == {
        (RejectReason.NOT_AN_IMAGE, bad.value),
        (RejectReason.MALFORMED_RECORD, b"no event"),
    }
    assert all(letter.origin.topic.endswith("image-events") for letter in letters)
    assert [decode_image_event(message.value).key for message in await transport.sent()] == ["good.jpg"]


async def _all_done(transport: Transport) -> bool:
    return await transport.unfinished() == 0


async def test_a_batch_that_was_not_done_when_the_consumer_failed_comes_again(transport: Transport) -> None:
    failures = 0

    async def fails_once(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise RuntimeError("a crash before done")
        return await echo(items)

    await transport.source.publish(numbered(keys=5, each=4))
    stage = Stage(fails_once)
    broken = Consuming(transport, stage)
    with pytest.raises((RuntimeError, ExceptionGroup)):
        await asyncio.wait_for(broken.task, 20)
    assert await transport.unfinished() > 0
    async with Consuming(transport, stage):
        await until(lambda: _all_done(transport))
    # What was finished beside the failure is not repeated where it was done; nothing is missing.
    for key in range(5):
        afters = [decode_image_event(m.value).after for m in await _all_sent(transport) if m.key == _key(key)]
        assert sorted(set(afters)) == [0, 1, 2, 3]


def _key(number: int) -> bytes | None:
    return encode(event(f"key{number}.jpg")).key


_SENT: dict[int, list[Message]] = {}


async def _all_sent(transport: Transport) -> list[Message]:
    # Reading the in-process topic empties it.
    if id(transport) not in _SENT:
        _SENT.clear()
        _SENT[id(transport)] = await transport.sent()
    return _SENT[id(transport)]


async def test_a_dependency_that_is_away_delays_and_rejects_nothing(transport: Transport) -> None:
    attempts = 0

    async def away_twice(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        nonlocal attempts
        attempts += 1
        if attempts <= 2:
            raise DependencyUnavailable("s3", "away", "Wait")
        return await echo(items)

    stage = Stage(away_twice)
    async with Consuming(transport, stage):
        await transport.source.publish(numbered(keys=1, each=3))
        await until(lambda: len(stage.finished) == 3)
        await until(lambda: _all_done(transport))
    assert await transport.letters() == []
    assert len(await transport.sent()) == 3


async def test_stop_lets_the_batch_in_hand_finish_and_begins_no_other(transport: Transport) -> None:
    opened = asyncio.Event()

    async def slow(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        await opened.wait()
        return await echo(items)

    await transport.source.publish(numbered(keys=1, each=3 * BATCH_RECORDS))
    stage = Stage(slow)
    consuming = Consuming(transport, stage)
    await stage.entered.wait()
    consuming.stop.set()
    await _turns()
    assert not consuming.task.done()
    opened.set()
    async with asyncio.timeout(10):
        await consuming.task
    assert 0 < len(stage.finished) <= BATCH_RECORDS
    assert await transport.unfinished() == 3 * BATCH_RECORDS - len(stage.finished)


async def test_stop_does_not_wait_for_a_dependency_that_is_away(transport: Transport) -> None:
    async def away(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        raise DependencyUnavailable("s3", "away", "Wait")

    await transport.source.publish(numbered(keys=1, each=2))
    stage = Stage(away)
    consuming = Consuming(transport, stage)
    await stage.entered.wait()
    consuming.stop.set()
    async with asyncio.timeout(8):
        await consuming.task
    assert await transport.unfinished() == 2


async def test_a_stage_that_does_not_finish_is_given_no_more_than_it_can_hold(transport: Transport) -> None:
    opened = asyncio.Event()

    async def slow(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        await opened.wait()
        return await echo(items)

    stage = Stage(slow)
    async with Consuming(transport, stage):
        publishing = asyncio.ensure_future(transport.source.publish(numbered(keys=1, each=100)))
        await stage.entered.wait()
        await _turns()
        # One key has one lane, and a lane one batch: whatever else there is waits in the transport.
        assert len(stage.seen) <= BATCH_RECORDS
        opened.set()
        await publishing
        await until(lambda: len(stage.finished) == 100)


async def _turns() -> None:
    # Nothing can be waited for where the point is that nothing happens.
    for _ in range(20):
        await asyncio.sleep(0.01)
