"""The codec under any record, any bytes and any headers."""

import json
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import (
    SCHEMA_VERSION,
    Message,
    decode_dead_letter,
    decode_image_event,
    decode_judgement,
    encode,
    encode_dead_letter,
    object_uri,
)
from schemas.dead_letter import DeadLetter, RejectReason
from schemas.errors import UndecodableRecord
from schemas.events import ImageEvent, Judgement
from schemas.headers import SCHEMA, TRACEPARENT, Headers, child_traceparent, header
from tests.unit.schemas import records, strategies

Decoder = Callable[[bytes, Headers], Any]
DECODERS: list[tuple[Decoder, bytes, str]] = [
    (decode_image_event, encode(records.IMAGE_EVENT).value, "image_event"),
    (decode_judgement, encode(records.IMAGE_EMBEDDED).value, "image_embedded"),
    (decode_judgement, encode(records.IMAGE_GONE).value, "image_gone"),
    (decode_judgement, encode(records.IMAGE_REJECTED).value, "image_rejected"),
    (decode_dead_letter, encode_dead_letter(records.DEAD_LETTER).value, "dead_letter"),
]
each_decoder = pytest.mark.parametrize(("decode", "value", "name"), DECODERS, ids=[name for *_, name in DECODERS])


@given(strategies.image_events)
def test_an_image_event_comes_back_as_it_was_sent(event: ImageEvent) -> None:
    message = encode(event)
    assert decode_image_event(message.value, message.headers) == event
    assert message.key is not None
    assert message.key.decode() == f"{event.bucket}/{event.key}"


@given(strategies.judgements)
def test_a_judgement_comes_back_as_it_was_sent(judgement: Judgement) -> None:
    message = encode(judgement)
    assert decode_judgement(message.value, message.headers) == judgement


@given(strategies.dead_letters)
def test_a_dead_letter_comes_back_with_its_original_bytes(letter: DeadLetter) -> None:
    message = encode_dead_letter(letter)
    again = decode_dead_letter(message.value, message.headers)
    assert again == letter
    assert again.original == letter.original
    assert message.key == letter.origin.key


@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_nothing_but_undecodable(value: bytes) -> None:
    for decode in (decode_image_event, decode_judgement, decode_dead_letter):
        with pytest.raises(UndecodableRecord):
            decode(value)


@each_decoder
@given(data=st.data())
def test_a_damaged_record_is_read_or_refused_and_never_crashes(
    decode: Decoder, value: bytes, name: str, data: st.DataObject
) -> None:
    damaged = bytearray(value)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    refusal = refusal_of(decode, bytes(damaged))
    if refusal is not None:
        assert len(refusal.detail.encode()) < 4000, "the sentence goes into a dead letter, which is JSON"


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats()
        | st.text(max_size=5)
        | st.binary(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("type"), inner, max_size=4)
        ),
        max_leaves=10,
    )
)
def test_any_messagepack_that_is_no_judgement_is_refused(value: Any) -> None:
    with pytest.raises(UndecodableRecord):
        decode_judgement(msgpack.packb(value))


@pytest.mark.parametrize("value", [b"\x91" * 100_000, b"\x81\xa1a" * 100_000, b"\xdd\xff\xff\xff\xff", b"[" * 100_000])
def test_nesting_and_length_bombs_are_refused(value: bytes) -> None:
    for decode in (decode_image_event, decode_judgement, decode_dead_letter):
        with pytest.raises(UndecodableRecord):
            decode(value)


@each_decoder
def test_fields_that_this_release_does_not_know_are_ignored(decode: Decoder, value: bytes, name: str) -> None:
    if name in ("image_event", "dead_letter"):
        fields = json.loads(value)
        grown = json.dumps(fields | {"added_later": {"deep": [1]}}).encode()
    else:
        fields = msgpack.unpackb(value)
        grown = msgpack.packb(fields | {"added_later": {"deep": [1]}})
    assert decode(grown, ()) == decode(value, ())


@each_decoder
def test_a_missing_field_is_refused_with_its_name(decode: Decoder, value: bytes, name: str) -> None:
    required = "occurred_at" if name == "dead_letter" else "received_at"
    if name in ("image_event", "dead_letter"):
        short = json.dumps({k: v for k, v in json.loads(value).items() if k != required}).encode()
    else:
        short = msgpack.packb({k: v for k, v in msgpack.unpackb(value).items() if k != required})
    with pytest.raises(UndecodableRecord, match=required) as caught:
        decode(short, ())
    assert caught.value.reason is RejectReason.MALFORMED_RECORD


@each_decoder
def test_a_newer_schema_is_refused_with_a_sentence_that_says_what_to_upgrade(
    decode: Decoder, value: bytes, name: str
) -> None:
    newer = ((SCHEMA, f"{name}/{SCHEMA_VERSION + 1}".encode()),)
    with pytest.raises(UndecodableRecord, match=f"{name}/{SCHEMA_VERSION + 1}.*upgrade this service") as caught:
        decode(value, newer)
    assert caught.value.reason is RejectReason.UNKNOWN_SCHEMA


@each_decoder
def test_a_record_without_a_schema_header_is_read_by_its_content(decode: Decoder, value: bytes, name: str) -> None:
    assert decode(value, ()) == decode(value, ((SCHEMA, f"{name}/1".encode()),))


@each_decoder
@pytest.mark.parametrize(
    "written",
    [b"", b"/", b"other/1", b"NAME/", b"NAME/0", b"NAME/01", b"NAME/-1", b"NAME/\xc2\xb2", b"NAME/" + b"1" * 5000],
)
def test_a_schema_header_that_makes_no_sense_is_refused(
    decode: Decoder, value: bytes, name: str, written: bytes
) -> None:
    with pytest.raises(UndecodableRecord) as caught:
        decode(value, ((SCHEMA, written.replace(b"NAME", name.encode())),))
    assert caught.value.reason is RejectReason.UNKNOWN_SCHEMA


@each_decoder
@given(written=st.binary(max_size=30))
def test_any_schema_header_is_accepted_or_refused(decode: Decoder, value: bytes, name: str, written: bytes) -> None:
    refusal = refusal_of(decode, value, ((SCHEMA, written),))
    assert refusal is None or refusal.reason is RejectReason.UNKNOWN_SCHEMA


def test_a_judgement_whose_vector_has_the_wrong_length_is_refused() -> None:
    fields = msgpack.unpackb(encode(records.IMAGE_EMBEDDED).value)
    with pytest.raises(UndecodableRecord, match="the vector has 15 bytes; 4 float32 need 16"):
        decode_judgement(msgpack.packb(fields | {"vector": fields["vector"][:-1]}))


def test_the_trace_of_a_record_goes_on_in_what_follows_from_it() -> None:
    first = encode(records.IMAGE_EVENT)
    second = encode(records.IMAGE_EMBEDDED, traceparent=child_traceparent(first.headers))
    third = encode_dead_letter(
        records.DEAD_LETTER.model_copy(
            update={"origin": records.DEAD_LETTER.origin.model_copy(update={"headers": second.headers})}
        )
    )
    traces = [_traceparent(message).split(b"-") for message in (first, second, third)]
    assert len({trace[1] for trace in traces}) == 1, "one trace id from the hint to the dead letter"
    assert len({trace[2] for trace in traces}) == 3, "and a span of its own for each"


@given(st.binary(max_size=60))
def test_a_broken_trace_context_begins_a_new_trace(parent: bytes) -> None:
    version, trace, span, flags = child_traceparent(((TRACEPARENT, parent),)).split(b"-")
    assert (version, len(trace), len(span), flags) == (b"00", 32, 16, b"01")


@pytest.mark.parametrize(
    "parent",
    [
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01",
        b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
    ],
)
def test_trace_contexts_that_the_standard_calls_invalid_are_not_continued(parent: bytes) -> None:
    assert child_traceparent(((TRACEPARENT, parent),)).split(b"-")[1] not in parent.lower()


def test_whether_a_trace_is_sampled_is_not_ours_to_change() -> None:
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    assert child_traceparent(((TRACEPARENT, parent),)).endswith(b"-00")


def test_the_last_value_of_a_repeated_header_counts() -> None:
    assert header((("a", b"1"), ("b", b"2"), ("a", b"3")), "a") == b"3"
    assert header((("a", b"1"),), "b") is None


@given(strategies.image_events)
def test_an_object_is_named_by_its_uri(event: ImageEvent) -> None:
    assert object_uri(event) == f"{event.source}://{event.bucket}/{event.key}"
    assert object_uri(b"an undecoded record") is None


def refusal_of(decode: Decoder, value: bytes, headers: Headers = ()) -> UndecodableRecord | None:
    """The only exception that decoding may raise, or None; any other fails the test."""
    try:
        decode(value, headers)
    except UndecodableRecord as error:
        return error
    return None


def _traceparent(message: Message) -> bytes:
    value = header(message.headers, TRACEPARENT)
    assert value is not None
    return value
