"""What an operator sees: lag, stalls, expired records, dead letters."""

import asyncio
import math
from collections.abc import Mapping, Sequence

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, KafkaError, UnsupportedCodecError

from runtime.kafka import GroupLag, KafkaConsumer, read_dead_letters
from runtime.stage import Done, Item, Outcome
from schemas.codec import Message, encode
from schemas.errors import ConfigurationError, DependencyUnavailable
from schemas.events import ImageEvent
from schemas.topics import IMAGE_EMBEDDINGS, IMAGE_EVENTS
from tests.integration.kafka.rig import LOG, Gate, Rig, Stage, echo, event, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


async def test_lag_counts_what_is_not_committed_and_falls_to_zero(rig: Rig) -> None:
    for number in range(5):
        await rig.publish_to(1, encode(event(f"{number}.jpg")))
    gate = Gate()
    running = rig.start(rig.consumer(Stage(gate), batch_records=2))
    await until(lambda: rig.value("sightline_kafka_lag_records", partition="1") == 5)
    before = rig.value("sightline_kafka_lag_seconds", partition="1")
    await until(lambda: rig.value("sightline_kafka_lag_seconds", partition="1") > before + 0.3)
    assert rig.value("sightline_kafka_lag_records", partition="0") == 0
    assert rig.value("sightline_kafka_lag_seconds", partition="0") == 0
    assert rig.value("sightline_kafka_assigned_partitions") == 4
    gate.open.set()
    await until(lambda: rig.value("sightline_kafka_lag_records", partition="1") == 0)
    await until(lambda: rig.value("sightline_kafka_lag_seconds", partition="1") == 0)
    assert rig.value("sightline_kafka_last_commit_timestamp_seconds") > 0
    await running.finish()


async def test_lag_of_a_partition_that_is_not_in_hand_is_seen_too(rig: Rig) -> None:
    await rig.publish_to(0, encode(event("held.jpg")))
    gate = Gate()
    stage = Stage(gate)
    running = rig.start(rig.consumer(stage))
    await stage.entered.wait()
    await until(lambda: rig.value("sightline_kafka_assigned_partitions") == 4)
    for number in range(3):
        await rig.publish_to(3, encode(event(f"{number}.jpg")))
    await until(lambda: rig.value("sightline_kafka_lag_records", partition="3") == 3)
    await until(lambda: rig.value("sightline_kafka_lag_seconds", partition="3") > 0.3)
    gate.open.set()
    await running.finish()


async def test_the_lag_of_groups_is_seen_by_who_is_in_none_of_them(rig: Rig) -> None:
    async def drop(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        return {item.id: Done() for item in items}

    groups = {"g": IMAGE_EVENTS, "h": IMAGE_EMBEDDINGS}
    lag = GroupLag(groups, rig.settings, log=LOG, refresh_seconds=0.1)
    stop = asyncio.Event()
    looking = asyncio.create_task(lag.run(stop))
    rig.running.append(looking)
    await until(lambda: lag.records == 0)
    await rig.publish([f"{number}.jpg" for number in range(5)])
    await rig.sink.publish([encode(event("a.jpg")), encode(event("b.jpg"))])
    await until(lambda: lag.records == 7)
    running = rig.start(rig.consumer(Stage(drop)))
    await until(lambda: lag.records == 2)
    await running.finish()
    stop.set()
    await looking


async def test_offsets_are_shown_and_what_is_left_when_partitions_go(rig: Rig) -> None:
    for number in range(5):
        await rig.publish_to(1, encode(event(f"{number}.jpg")))
    gate = Gate()
    running = rig.start(rig.consumer(Stage(gate), batch_records=2))
    await until(lambda: rig.value("sightline_kafka_end_offset", partition="1") == 5)
    assert rig.value("sightline_kafka_committed_offset", partition="1") == 0
    gate.open.set()
    await until(lambda: rig.value("sightline_kafka_committed_offset", partition="1") == 5)
    assert rig.value("sightline_kafka_end_offset", partition="0") == 0
    await running.finish()


async def test_a_backlog_tells_when_it_clears_now_and_with_one_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.backlog.LEAST_SECONDS", 0.5)
    await rig.publish([f"{number}.jpg" for number in range(200)])

    async def slowly(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        await asyncio.sleep(0.2)
        return await echo(items)

    def clears(embedders: str) -> float:
        labels = {"embedders": embedders}
        return rig.registry.get_sample_value("sightline_backlog_clears_seconds", labels) or math.nan

    consumer = rig.consumer(Stage(slowly), batch_records=5, tell_backlog=True)
    running = rig.start(consumer)
    # 25 records a second, of which 200 were to be done: some 8 seconds; one more of one embedder halves it.
    await until(lambda: 0 < clears("now") < 60)
    assert 0.4 * clears("now") < clears("one_more") < 0.6 * clears("now")
    await until(lambda: sum(consumer.lag.records.values()) == 0, patience=40)
    await until(lambda: rig.registry.get_sample_value("sightline_backlog_clears_seconds", {"embedders": "now"}) == 0)
    await running.finish()


async def test_records_that_retention_took_unread_are_counted(rig: Rig) -> None:
    for number in range(6):
        await rig.publish_to(2, encode(event(f"{number}.jpg")))
    stage = Stage()
    first = rig.start(rig.consumer(stage, batch_records=2))
    await until(lambda: len(stage.finished) >= 6)
    await first.finish()
    for number in range(6, 10):
        await rig.publish_to(2, encode(event(f"{number}.jpg")))
    admin = AIOKafkaAdminClient(bootstrap_servers=rig.settings.bootstrap_servers)
    await admin.start()
    await admin.delete_records({TopicPartition(rig.source.topic, 2): RecordsToDelete(before_offset=9)})
    await admin.close()
    gate = Gate()
    again = rig.start(rig.consumer(Stage(gate)))
    await until(lambda: rig.value("sightline_kafka_expired_records_total") == 3)
    gate.open.set()
    await again.finish()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (GroupAuthorizationFailedError("g"), "SIGHTLINE_KAFKA__SASL_USERNAME"),
        (UnsupportedCodecError("zstd"), "aiokafka"),
    ],
)
async def test_a_fetch_that_can_never_succeed_stops_the_process(rig: Rig, error: KafkaError, sentence: str) -> None:
    consumer = rig.consumer(Stage())
    running = rig.start(consumer)
    (await _joined(consumer))._coordinator._pending_exception = error
    with pytest.raises(ConfigurationError, match=sentence):
        await asyncio.wait_for(running.task, 20)
    assert rig.value("sightline_kafka_consumer_stalled") == 1


async def test_a_fetch_that_fails_for_a_while_is_counted_and_goes_on(rig: Rig) -> None:
    stage = Stage()
    consumer = rig.consumer(stage)
    running = rig.start(consumer)
    (await _joined(consumer))._coordinator._pending_exception = KafkaConnectionError("away")
    await until(lambda: rig.value("sightline_kafka_fetch_failures_total", kind="broker") == 1)
    await rig.publish(["a.jpg"])
    await until(lambda: stage.finished == ["a.jpg"])
    assert rig.value("sightline_kafka_consumer_stalled") == 0
    await running.finish()


async def _joined(consumer: KafkaConsumer) -> AIOKafkaConsumer:
    (lane,) = consumer.lanes
    await until(lambda: lane.consumer is not None and bool(lane.consumer.assignment()))
    return lane.consumer


async def test_dead_letters_are_read_to_their_end_and_no_further(rig: Rig) -> None:
    for number in range(5):
        await rig.publish_to(number % 4, Message(b"k%d" % number, b"no record %d" % number))
    running = rig.start(rig.consumer(Stage()))
    await until(lambda: _count(rig, 5))
    await running.finish()
    await rig.letters.publish([Message(b"k", b"no dead letter")])
    found = [kept async for kept in read_dead_letters(rig.settings)]
    assert sorted(kept.letter.original for kept in found) == [b"no record %d" % number for number in range(5)]
    assert len({kept.id for kept in found}) == 5
    assert len([kept async for kept in read_dead_letters(rig.settings, limit=2)]) == 2


async def _count(rig: Rig, expected: int) -> bool:
    return len(await rig.dead_letters()) == expected


async def test_no_dead_letters_are_an_empty_list(rig: Rig) -> None:
    assert await rig.dead_letters() == []


async def test_dead_letters_without_a_broker_are_an_unavailable_dependency(rig: Rig) -> None:
    settings = rig.settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(DependencyUnavailable, match="SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS"):
        _ = [kept async for kept in read_dead_letters(settings)]
