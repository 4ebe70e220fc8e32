"""Each trap of FastStream and aiokafka whose guard is our code, on a real broker."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from aiokafka import TopicPartition
from aiokafka.record.util import calc_crc32c

from runtime.stage import Emit, Item, Outcome
from schemas.codec import Message, encode
from schemas.dead_letter import RejectReason
from schemas.errors import DependencyUnavailable
from schemas.events import ImageEvent
from tests.integration.kafka.rig import PARTITIONS, Gate, Rig, Stage, echo, event, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]

KEYS = [f"k{n}.jpg" for n in range(40)]


async def test_a_new_group_begins_with_what_was_written_before_it(rig: Rig) -> None:
    await rig.publish(KEYS)
    stage = Stage()
    running = rig.start(rig.consumer(stage))
    await until(lambda: len(stage.finished) >= len(KEYS))
    await running.finish()
    assert sorted(stage.seen) == sorted(KEYS)
    assert sorted(await rig.emitted()) == sorted(KEYS)
    assert sum((await rig.committed()).values()) == len(KEYS)


async def test_nothing_is_committed_before_the_work_is_done(rig: Rig) -> None:
    await rig.publish(KEYS)
    stage = Stage(Gate())
    running = rig.start(rig.consumer(stage, drain_seconds=1.0))
    await stage.entered.wait()
    # The batch never ends; the deadline does, and the consumer is closed. Automatic commits would come now.
    await running.finish()
    assert await rig.committed() == {}
    assert await rig.emitted() == []


async def test_undecodable_records_are_dead_letters_and_their_batch_goes_on(rig: Rig) -> None:
    good = encode(event("good.jpg"))
    json_that_is_none = Message(b"bad", b"{not json", (("content-type", b"application/json"),))
    binary_header = Message(b"odd", good.value, (("content-type", b"\xff\xfe"), ("correlation_id", b"\xff")))
    tombstone = Message(b"gone", b"", ())
    for message in (good, json_that_is_none, tombstone, binary_header, good):
        await rig.publish_to(0, message)
    stage = Stage()
    running = rig.start(rig.consumer(stage))
    await until(lambda: len(stage.finished) >= 3)
    await running.finish()
    assert stage.seen == ["good.jpg"] * 3
    assert await rig.committed() == {0: 5}
    letters = await rig.dead_letters()
    assert sorted((letter.origin.offset, letter.original) for letter in letters) == [(1, b"{not json"), (2, b"")]
    assert {letter.reason for letter in letters} == {RejectReason.MALFORMED_RECORD}


@pytest.mark.parametrize("poisoned", range(PARTITIONS))
async def test_a_header_with_an_unreadable_name_costs_its_record_and_no_other(rig: Rig, poisoned: int) -> None:
    # aiokafka gives up in the middle of a fetch; what the call had taken from the partitions before is lost then.
    beside = [f"beside{number}.jpg" for number in range(PARTITIONS)]
    for partition, key in enumerate(beside):
        await rig.publish_to(partition, encode(event(key)))
    await _publish_raw_header_name(rig, partition=poisoned)
    for number in range(3):
        await rig.publish_to(poisoned, encode(event(f"after{number}.jpg")))
    stage = Stage()
    running = rig.start(rig.consumer(stage))
    await until(lambda: len(set(stage.finished)) >= PARTITIONS + 3)
    await running.finish()
    assert sorted(stage.seen) == sorted([*beside, *(f"after{number}.jpg" for number in range(3))])
    (letter,) = await rig.dead_letters()
    assert (letter.origin.partition, letter.origin.offset) == (poisoned, 1)
    assert letter.origin.headers[0][0] == "sightline-unreadable"
    assert (await rig.committed())[poisoned] == 5


async def _publish_raw_header_name(rig: Rig, *, partition: int) -> None:
    producer = rig.source._producer
    assert producer is not None
    batch = producer.create_batch()
    batch.append(key=b"k", value=encode(event("poison.jpg")).value, timestamp=None, headers=[("QQ", b"1")])
    build = batch._build

    def spoiled() -> bytes:
        # The checksum, at byte 17 of a record batch, covers everything from byte 21.
        raw = bytearray(build())
        raw[raw.index(b"QQ")] = 0xFF
        raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
        return bytes(raw)

    batch._build = spoiled
    await (await producer.send_batch(batch, rig.source.topic, partition=partition))


async def test_a_commit_covers_only_the_offsets_of_its_own_batch(rig: Rig) -> None:
    gate = Gate()
    stage = Stage(gate)
    await rig.publish_to(0, encode(event("first.jpg")))
    consumer = rig.consumer(stage)
    running = rig.start(consumer)
    await stage.entered.wait()
    # More is fetched while the batch is in hand, as it is wherever batches are pipelined.
    await rig.publish_to(0, encode(event("second.jpg")))
    fetched = consumer.lanes[0].consumer
    assert fetched is not None
    await until(lambda: _moved(fetched))
    stage.answer = Gate()
    gate.open.set()
    await until(lambda: _has_committed(rig, {0: 1}))
    running.task.cancel()


async def _moved(consumer: object) -> bool:
    await consumer.getmany(timeout_ms=100)  # type: ignore[attr-defined]
    position = await consumer.position(next(iter(p for p in consumer.assignment() if p.partition == 0)))  # type: ignore[attr-defined]
    return bool(position == 2)


async def _has_committed(rig: Rig, expected: dict[int, int]) -> bool:
    committed = await rig.committed()
    assert all(offset <= expected[partition] for partition, offset in committed.items())
    return committed == expected


async def test_an_error_of_the_worker_reaches_the_process_and_commits_nothing(rig: Rig) -> None:
    async def broken(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        raise RuntimeError("a bug")

    await rig.publish(KEYS)
    running = rig.start(rig.consumer(Stage(broken), consumers=2))
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(running.task, 20)
    assert await rig.committed() == {}


async def test_after_an_error_no_later_batch_of_any_consumer_is_begun(rig: Rig) -> None:
    failed = asyncio.Event()

    async def fails_once(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        if failed.is_set():
            return await echo(items)
        failed.set()
        raise RuntimeError("once")

    # One record for each batch: the batches behind the failed one would succeed, and their commits cover it.
    for number in range(5):
        await rig.publish_to(0, encode(event(f"{number}.jpg")))
    stage = Stage(fails_once)
    running = rig.start(rig.consumer(stage, batch_records=1))
    with pytest.raises(RuntimeError, match="once"):
        await asyncio.wait_for(running.task, 20)
    assert await rig.committed() == {}
    again = rig.start(rig.consumer(stage, batch_records=1))
    await until(lambda: len(stage.finished) >= 5)
    await again.finish()
    assert stage.finished == [f"{number}.jpg" for number in range(5)]


async def test_a_batch_over_several_partitions_that_fails_once_loses_nothing(rig: Rig) -> None:
    attempts: list[set[str]] = []
    committed_at_failure: list[dict[int, int]] = []

    async def away_once(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        partitions = {item.id.split("/")[1] for item in items}
        attempts.append(partitions)
        if len(attempts) == 1:
            raise DependencyUnavailable("s3", "away for a moment", "Wait")
        if len(attempts) == 2:
            committed_at_failure.append(await rig.committed())
        return await echo(items)

    await rig.publish(KEYS)
    stage = Stage(away_once)
    running = rig.start(rig.consumer(stage))
    await until(lambda: len(set(stage.finished)) == len(KEYS))
    await running.finish()
    assert len(attempts[0]) > 1, "the batch must span partitions for this to prove anything"
    assert attempts[0] == attempts[1]
    assert committed_at_failure == [{}]
    assert sorted(await rig.emitted()) == sorted(KEYS)
    assert sum((await rig.committed()).values()) == len(KEYS)


async def test_a_rebalance_waits_for_the_batch_in_hand_and_nothing_is_done_twice(rig: Rig) -> None:
    await rig.publish(KEYS)
    gate = Gate()
    first, second = Stage(gate), Stage()
    one = rig.start(rig.consumer(first))
    await first.entered.wait()
    other = rig.start(rig.consumer(second))
    await until(lambda: rig.value("sightline_kafka_rebalances_total", kind="revoked") >= 1)
    await asyncio.sleep(1.0)  # time enough for a group that does not wait to give the records to the other
    assert second.seen == []
    gate.open.set()
    await until(lambda: len(first.finished) + len(second.finished) >= len(KEYS))
    await asyncio.gather(one.finish(), other.finish())
    assert sorted(first.finished + second.finished) == sorted(KEYS)
    assert sorted(await rig.emitted()) == sorted(KEYS)
    assert rig.value("sightline_kafka_commit_failures_total", kind="revoked") == 0


async def test_a_batch_that_outlasts_the_rebalance_is_not_committed_by_its_old_owner(rig: Rig) -> None:
    await rig.publish(KEYS)
    gate = Gate()
    first, second = Stage(gate), Stage()
    one = rig.start(rig.consumer(first, rebalance_timeout_ms=5000))
    await first.entered.wait()
    other = rig.start(rig.consumer(second, rebalance_timeout_ms=5000))
    # The other half is processed by the new member, once the group stopped waiting for the first.
    await until(lambda: len(second.finished) > 0, patience=20)
    gate.open.set()
    await until(lambda: rig.value("sightline_kafka_commit_failures_total", kind="revoked") >= 1)
    # The new owners do all of it again, the old one its own half.
    await until(lambda: len(first.finished) + len(second.finished) == 2 * len(KEYS))
    await asyncio.gather(one.finish(), other.finish())
    assert set(await rig.emitted()) == set(KEYS)
    assert sum((await rig.committed()).values()) == len(KEYS)


async def test_a_batch_that_merely_waits_for_a_dependency_is_given_up_by_a_rebalance(rig: Rig) -> None:
    away = True

    async def waits(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        if away:
            raise DependencyUnavailable("qdrant", "away", "Wait")
        return await echo(items)

    await rig.publish(KEYS)
    first, second = Stage(waits), Stage(waits)
    one = rig.start(rig.consumer(first))
    await first.entered.wait()
    other = rig.start(rig.consumer(second))
    # Far below the 16 s that a rebalance waits for a batch at work.
    await until(second.entered.is_set, patience=8)
    assert await rig.committed() == {}
    away = False
    await until(lambda: len(first.finished) + len(second.finished) >= len(KEYS))
    await asyncio.gather(one.finish(), other.finish())
    assert sorted(await rig.emitted()) == sorted(KEYS)


async def test_a_stage_slower_than_the_session_is_not_evicted(rig: Rig) -> None:
    async def slow(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        await asyncio.sleep(8)  # the session is 6 s; the time itself is what is tested
        return await echo(items)

    await rig.publish(KEYS[:5])
    stage = Stage(slow)
    running = rig.start(rig.consumer(stage))
    await until(lambda: len(stage.finished) >= 5, patience=30)
    await running.finish()
    # An evicted member would have had its partitions revoked; at its first join it had none.
    assert rig.value("sightline_kafka_rebalances_total", kind="revoked") == 0
    assert rig.value("sightline_kafka_commit_failures_total", kind="revoked") == 0
    assert sorted(stage.finished) == sorted(KEYS[:5])


async def test_stop_finishes_and_commits_the_batch_in_hand_and_leaves_the_group(rig: Rig) -> None:
    await rig.publish(KEYS)
    gate = Gate()
    stage = Stage(gate)
    running = rig.start(rig.consumer(stage, batch_records=10))
    await stage.entered.wait()
    running.stop.set()
    await asyncio.sleep(0.1)
    assert not running.task.done()
    gate.open.set()
    await asyncio.wait_for(running.task, 5)
    assert len(stage.finished) == 10
    assert sum((await rig.committed()).values()) == 10
    # A member that has left is not waited for: the next one has the partitions within its session timeout.
    successor = Stage()
    following = rig.start(rig.consumer(successor))
    await until(lambda: len(successor.finished) >= 30, patience=5)
    await following.finish()
    assert sorted(stage.finished + successor.finished) == sorted(KEYS)


async def test_stop_while_waiting_for_a_dependency_is_quick_and_commits_nothing(rig: Rig) -> None:
    async def away(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        raise DependencyUnavailable("qdrant", "away", "Wait")

    await rig.publish(KEYS)
    stage = Stage(away)
    running = rig.start(rig.consumer(stage, drain_seconds=30))
    await stage.entered.wait()
    running.stop.set()
    await asyncio.wait_for(running.task, 5)
    assert await rig.committed() == {}


async def test_consumers_of_one_process_share_a_stage_and_work_at_once(rig: Rig) -> None:
    together = asyncio.Barrier(PARTITIONS)

    async def meet(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        await asyncio.wait_for(together.wait(), 20)
        return await echo(items)

    stage = Stage(meet)
    running = rig.start(rig.consumer(stage, consumers=PARTITIONS))
    await until(lambda: _all_assigned(running))
    for partition in range(PARTITIONS):
        await rig.publish_to(partition, encode(event(f"{partition}.jpg")))
    await until(lambda: len(stage.finished) >= PARTITIONS)
    await running.finish()
    assert sorted(stage.finished) == [f"{partition}.jpg" for partition in range(PARTITIONS)]


def _all_assigned(running: object) -> bool:
    lanes = running.consumer.lanes  # type: ignore[attr-defined]
    return all(lane.consumer is not None and len(lane.consumer.assignment()) == 1 for lane in lanes)


async def test_what_a_stage_sees_of_a_record_is_what_was_sent(rig: Rig) -> None:
    seen: list[Item[ImageEvent]] = []

    async def keep(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        seen.extend(items)
        return {item.id: Emit(()) for item in items}

    await rig.publish(["one.jpg"])
    running = rig.start(rig.consumer(Stage(keep)))
    await until(lambda: len(seen) == 1)
    await running.finish()
    (record,) = await rig.everything("image-events")
    assert seen[0].id == record.id
    assert record.timestamp is not None
    assert record.timestamp.tzinfo is not None
    assert TopicPartition(record.topic, record.partition).topic == rig.source.topic
