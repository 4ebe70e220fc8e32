import asyncio

from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from runtime.kafka.records import decode_batch, parse_batch, received

RECORDS = st.builds(
    ConsumerRecord,
    topic=st.just("t"),
    partition=st.integers(0, 5),
    offset=st.integers(0, 2**62),
    timestamp=st.integers(-(2**63), 2**63 - 1),
    timestamp_type=st.just(0),
    key=st.none() | st.binary(),
    value=st.none() | st.binary(),
    checksum=st.none(),
    serialized_key_size=st.just(0),
    serialized_value_size=st.just(0),
    headers=st.lists(st.tuples(st.text(), st.none() | st.binary())),
)


@given(RECORDS)
def test_any_record_that_kafka_can_hold_becomes_a_received_one(record: ConsumerRecord[bytes, bytes]) -> None:
    came = received(record)
    assert (came.partition, came.offset, came.key) == (record.partition, record.offset, record.key)
    assert came.value == (record.value or b"")
    assert [name for name, _ in came.headers] == [name for name, _ in record.headers]
    assert came.timestamp is None or came.timestamp.tzinfo is not None


@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_parsing_and_decoding_a_batch_fails_for_no_record(records: list[ConsumerRecord[bytes, bytes]]) -> None:
    async def through() -> list[object]:
        return await decode_batch(await parse_batch(tuple(records)))

    assert asyncio.run(through()) == records
