"""Publishing on a real broker: by key, acknowledged, in order, never waiting for ever."""

import asyncio
import socket
from collections import defaultdict
from itertools import chain

import pytest

from deploy.stack import KafkaServer
from runtime.kafka import KafkaPublisher
from runtime.kafka.producer import RecordTooLarge
from runtime.settings import KafkaSettings
from schemas.codec import Message
from schemas.errors import DependencyUnavailable
from schemas.topics import IMAGE_EVENTS
from tests.integration.kafka.rig import LOG, PARTITIONS, Rig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


def _numbered(first: int, count: int) -> list[Message]:
    return [Message(f"key{number % 3}".encode(), str(number).encode()) for number in range(first, first + count)]


async def _values(rig: Rig) -> dict[bytes, list[int]]:
    found: dict[bytes, list[int]] = defaultdict(list)
    for record in await rig.everything(IMAGE_EVENTS.name):
        found[record.key or b""].append(int(record.value))
    return found


async def test_a_key_has_one_partition_and_keys_spread(rig: Rig) -> None:
    keys = [f"images/{number}.jpg".encode() for number in range(50)]
    await rig.source.publish([Message(key, b"1") for key in keys])
    await rig.source.publish([Message(key, b"2") for key in keys])
    homes: dict[bytes | None, set[int]] = defaultdict(set)
    for record in await rig.everything(IMAGE_EVENTS.name):
        homes[record.key].add(record.partition)
    assert all(len(partitions) == 1 for partitions in homes.values())
    assert set.union(*homes.values()) == set(range(PARTITIONS))


async def test_headers_arrive_as_they_were_sent_even_if_they_repeat_or_are_binary(rig: Rig) -> None:
    headers = (("a", b"1"), ("a", b"2"), ("b", b"\xff"), ("content-type", b"text/plain"))
    await rig.source.publish([Message(b"k", b"v", headers)])
    (record,) = await rig.everything(IMAGE_EVENTS.name)
    assert record.headers == headers


async def test_a_publish_has_a_deadline_and_its_retry_keeps_the_order_of_each_key(
    rig: Rig, pausable: KafkaServer
) -> None:
    publisher = KafkaPublisher(IMAGE_EVENTS, rig.settings, log=LOG, deadline=1.0)
    async with publisher:
        await publisher.publish(_numbered(0, 6))
        pausable.process.pause()
        started = asyncio.get_running_loop().time()
        for _ in range(2):
            with pytest.raises(DependencyUnavailable, match=rig.settings.bootstrap_servers):
                await publisher.publish(_numbered(6, 6))
        assert asyncio.get_running_loop().time() - started < 4
        pausable.process.resume()
        await _publish_until_taken(publisher, _numbered(6, 6))
        await publisher.publish(_numbered(12, 6))
    for key, values in (await _values(rig)).items():
        # At least once: a record may be there twice, but no old one stands behind a newer batch.
        assert set(values) == {n for n in range(18) if f"key{n % 3}".encode() == key}
        assert values[-2:] == sorted(values)[-2:]
        firsts = list(dict.fromkeys(values))
        assert firsts == sorted(firsts)


async def _publish_until_taken(publisher: KafkaPublisher, messages: list[Message]) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await publisher.publish(messages)
            except DependencyUnavailable:
                continue
            return


async def test_what_is_left_of_a_failed_publish_does_not_pile_up(rig: Rig, pausable: KafkaServer) -> None:
    publisher = KafkaPublisher(IMAGE_EVENTS, rig.settings, log=LOG, deadline=0.5)
    async with publisher:
        await publisher.publish(_numbered(0, 3))
        pausable.process.pause()
        for _ in range(3):
            with pytest.raises(DependencyUnavailable):
                await publisher.publish(_numbered(3, 3))
        pausable.process.resume()
        await _publish_until_taken(publisher, _numbered(3, 3))
    copies = [len(values) for values in (await _values(rig)).values()]
    assert max(copies) <= 3, "one acknowledged before, one left over, one of the retry that succeeded"


async def test_a_producer_that_lost_its_sequence_is_replaced(rig: Rig) -> None:
    await rig.source.publish(_numbered(0, 3))
    broken = rig.source._producer
    assert broken is not None
    for partition in list(broken._txn_manager._sequence_numbers):
        broken._txn_manager._sequence_numbers[partition] = 4711
    with pytest.raises(DependencyUnavailable, match="lost its place"):
        await rig.source.publish(_numbered(3, 3))
    await rig.source.publish(_numbered(3, 3))
    assert rig.source._producer is not broken
    assert sorted(chain.from_iterable((await _values(rig)).values())) == list(range(6))


async def test_a_producer_whose_background_task_died_is_replaced(rig: Rig) -> None:
    broken = rig.source._producer
    assert broken is not None
    broken._sender.sender_task.cancel()
    await asyncio.wait([broken._sender.sender_task])
    rig.source._deadline = 0.5
    with pytest.raises(DependencyUnavailable):
        await rig.source.publish(_numbered(0, 3))
    rig.source._deadline = 5.0
    await rig.source.publish(_numbered(0, 3))
    assert rig.source._producer is not broken


async def test_a_message_above_the_limit_is_an_error_that_names_its_size(rig: Rig) -> None:
    with pytest.raises(RecordTooLarge, match="2000000 bytes"):
        await rig.source.publish([Message(b"k", bytes(2_000_000))])
    await rig.source.publish([Message(b"k", b"small")])


async def test_nobody_at_the_address_is_an_unavailable_dependency_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(DependencyUnavailable, match=address):
        async with KafkaPublisher(IMAGE_EVENTS, KafkaSettings(bootstrap_servers=address), log=LOG):
            pass


async def test_concurrent_publishes_do_not_wait_for_each_other(rig: Rig) -> None:
    await asyncio.gather(*(rig.source.publish(_numbered(10 * n, 10)) for n in range(20)))
    assert sorted(chain.from_iterable((await _values(rig)).values())) == list(range(200))
