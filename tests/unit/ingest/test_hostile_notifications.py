"""Whatever arrives, the answer is a list: hints for allowed buckets, what was ignored, and what was refused and why."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.settings import LimitSettings
from schemas.codec import encode
from schemas.dead_letter import RejectReason
from services.ingest.stage import Reading
from tests.unit.ingest.stores import BUCKET, STORES, aws, in_sns, in_sqs, keys, read, s3_record
from tests.unit.ingest.test_samples import HINTS, NO_WORK, sample

SAMPLES = [json.loads(sample(name)) for name in (*HINTS, *NO_WORK)]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "\ud800", "\0", "/", "%", "aws:s3", "aws:sqs", "s3:TestEvent", "Notification", "{", "2.1"])
)
ENVELOPE_NAMES = ["Records", "Type", "Message", "TopicArn", "Sns", "body", "Event", "EventName", "Key"]
RECORD_NAMES = ["eventSource", "eventName", "eventVersion", "s3", "bucket", "object", "key", "name", "userIdentity"]
EVENTBRIDGE_NAMES = ["source", "detail", "detail-type"]
NAMES = st.sampled_from([*ENVELOPE_NAMES, *RECORD_NAMES, *EVENTBRIDGE_NAMES]) | st.text(max_size=5)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=20
)


def reasons(reading: Reading) -> list[RejectReason]:
    return [one.reason for one in reading.refused]


def sound(reading: Reading) -> None:
    """Everything of a reading can be sent on: hints and dead letters as UTF-8, within bounds, allowed buckets only."""
    for event in reading.events:
        assert event.bucket in (BUCKET, "holiday-photos")
        encode(event)
    for one in reading.refused:
        assert one.detail.isascii()
        assert len(one.detail) < 500
    for note in reading.notes:
        assert note.isascii()


def guarded(message: object) -> Reading:
    return read(message, allowed=[BUCKET, "holiday-photos"])


@given(st.binary(max_size=300))
def test_any_bytes_are_judged(value: bytes) -> None:
    reading = guarded(value)
    sound(reading)
    assert not reading.events


@given(JSON)
def test_any_json_is_judged(message: object) -> None:
    sound(guarded(message))


@given(st.data())
@settings(max_examples=400)
def test_a_mutated_sample_is_judged_and_names_no_other_bucket(data: st.DataObject) -> None:
    message = json.loads(json.dumps(data.draw(st.sampled_from(SAMPLES))))
    for _ in range(data.draw(st.integers(1, 4))):
        message = mutated(data, message)
    sound(guarded(message))


def mutated(data: st.DataObject, message: Any) -> Any:
    """The message with one place replaced, removed, duplicated, or moved into another envelope."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, name))
            if isinstance(inner, dict | list):
                walk(inner)

    if not isinstance(message, dict | list) or not message:
        return data.draw(JSON)
    walk(message)
    holder, name = data.draw(st.sampled_from(places))
    match data.draw(st.sampled_from(["replace", "remove", "wrap", "double", "text"])):
        case "replace":
            holder[name] = data.draw(JSON)
        case "remove":
            del holder[name]
        case "wrap":
            return in_sns(message) if data.draw(st.booleans()) else in_sqs(message)
        case "double":
            holder[name] = [holder[name], holder[name]]
        case "text":
            holder[name] = json.dumps(holder[name])
    return message


@given(st.data())
def test_a_damaged_text_is_judged(data: st.DataObject) -> None:
    text = bytearray(json.dumps(data.draw(st.sampled_from(SAMPLES)), ensure_ascii=False).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    sound(guarded(bytes(text)))


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.origin.value)
def test_a_bucket_that_is_not_allowed_is_refused(store: Any) -> None:
    reading = read(store.write("a.jpg"), allowed=["another"])
    assert reasons(reading) == ["bucket_not_allowed"]
    assert not reading.events
    assert BUCKET in reading.refused[0].detail


def test_one_bad_record_among_good_ones_refuses_only_itself() -> None:
    def record(key: object, **more: Any) -> Any:
        return s3_record("aws:s3", "ObjectCreated:Put", "x", **more) | {
            "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}}
        }

    message = {"Records": [record("1.jpg"), 7, record(""), record([]), {}, None, record("2.jpg"), {"s3": 1}, "x"]}
    reading = read(message)
    assert keys(reading) == ["1.jpg", "2.jpg"]
    assert len(reading.refused) == 7


def test_one_bad_body_among_good_ones_refuses_only_itself() -> None:
    message = in_sqs(aws("1.jpg"), "no notification", aws("2.jpg"))
    message["Records"][0]["body"] = "{"
    reading = read(message)
    assert keys(reading) == ["2.jpg"]
    assert reasons(reading) == ["malformed_record", "unknown_notification"]


def test_envelopes_nest_as_deep_as_the_limit_and_no_deeper() -> None:
    limits = LimitSettings(notification_depth=3)
    message: Any = aws("a.jpg")
    for _ in range(3):
        message = in_sns(message)
    assert keys(read(message, limits=limits)) == ["a.jpg"]
    assert reasons(read(in_sns(message), limits=limits)) == ["notification_too_deep"]
    assert reasons(read(in_sqs(message), limits=limits)) == ["notification_too_deep"]


def test_a_body_that_is_too_deep_leaves_its_neighbours_alone() -> None:
    deep = in_sns(in_sns(in_sns(aws("deep.jpg"))))
    reading = read(in_sqs(aws("1.jpg"), deep, aws("2.jpg")))
    assert keys(reading) == ["1.jpg", "2.jpg"]
    assert reasons(reading) == ["notification_too_deep"]


def test_size_is_judged_before_anything_is_parsed() -> None:
    limits = LimitSettings(notification_bytes=1024)
    fits = json.dumps({"Event": "s3:TestEvent"}).encode().ljust(1024)
    assert not read(fits, limits=limits).refused
    assert reasons(read(fits + b" ", limits=limits)) == ["notification_too_large"]


MEGABYTE = 1024 * 1024
BOMBS = {
    "brackets": (b"[" * MEGABYTE, "notification_too_deep"),
    "braces": (b'{"a":' * (MEGABYTE // 5), "notification_too_deep"),
    "digits": (b"9" * MEGABYTE, "malformed_record"),
    "NaN": (b'{"Event":"s3:TestEvent","a":NaN}', "malformed_record"),
    "infinity": (b'{"Event":"s3:TestEvent","a":-Infinity}', "malformed_record"),
    "half a surrogate": (b'{"Records":[{"eventSource":"\\ud800"}]}', "unknown_notification"),
    "UTF-16": ('{"Records":[]}'.encode("utf-16"), "malformed_record"),
    "not UTF-8": (b'{"Records":["\xff"]}', "malformed_record"),
    "a number": (b"7", "unknown_notification"),
    "nothing": (b"", "malformed_record"),
    "zeros": (b'{"Records":[' + b"0," * 500_000 + b"0]}", "malformed_record"),
    "empty records": (b'{"Records":[' + b"{}," * 340_000 + b"{}]}", "unknown_notification"),
    "a long key": (json.dumps({"Records": [s3_record("aws:s3", "x", "%41" * 300_000)]}).encode(), "invalid_key"),
    "a long name": (json.dumps({"Records": [s3_record("é" * 100_000, "x", "y")]}).encode(), "unknown_notification"),
}


@pytest.mark.parametrize(("value", "reason"), BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_at_once(value: bytes, reason: str) -> None:
    started = time.process_time()
    reading = guarded(value)
    assert reasons(reading)[0] == reason
    assert len(reading.refused) <= MEGABYTE // 32 + 1
    sound(reading)
    assert time.process_time() - started < 5  # it takes milliseconds; quadratic time would take minutes


@pytest.mark.parametrize("bucket", [None, 7, [], "", "a/b", "a\0b", "\ud800", "b" * 256])
@pytest.mark.parametrize("store", STORES, ids=lambda store: store.origin.value)
def test_what_cannot_be_a_bucket_is_refused(store: Any, bucket: object) -> None:
    text = json.dumps(store.write("a.jpg")).replace(f'"name": "{BUCKET}"', f'"name": {json.dumps(bucket)}')
    reading = read(text.encode())
    assert reasons(reading) == ["malformed_record"]
    assert not reading.events


@pytest.mark.parametrize("name", ["eTag", "versionId", "sequencer"])
@pytest.mark.parametrize("value", ["\ud800", "x" * 1025, 7, [], {}])
def test_a_claim_that_cannot_be_one_is_left_out_and_the_hint_is_still_given(name: str, value: object) -> None:
    message = aws("a.jpg")
    message["Records"][0]["s3"]["object"][name] = value
    message["Records"][0]["s3"]["configurationId"] = value
    message["Records"][0]["eventName"] = "s3:ObjectCreated:Put"
    reading = read(message)
    assert keys(reading) == ["a.jpg"]
    claim = reading.events[0].claim
    assert claim is not None
    assert value not in (claim.etag, claim.version_id, claim.sequencer)
    sound(reading)


def test_of_duplicate_names_the_last_counts() -> None:
    text = json.dumps(aws("last.jpg")).replace('"key":', '"key": "first.jpg", "key":')
    assert keys(read(text.encode())) == ["last.jpg"]
