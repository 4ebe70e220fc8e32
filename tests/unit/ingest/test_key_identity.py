"""One key, one object: whatever a key holds, every store's way to write it leads back to exactly that key."""

import unicodedata
from itertools import combinations
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import EventOrigin
from services.ingest.formats import keys as key_rules
from tests.unit.ingest.stores import BUCKET, STORES, Store, eventbridge, in_sns, in_sqs, keys, minio, read, s3_record

KEYS = {
    "plain": "a.jpg",
    "space": "a b.jpg",
    "plus": "a+b.jpg",
    "escaped plus": "a%2Bb.jpg",
    "escaped space": "a%20b.jpg",
    "twice escaped": "a%252Bb.jpg",
    "percent": "100%.jpg",
    "percent before letters": "50%off.jpg",
    "NFC": unicodedata.normalize("NFC", "café.jpg"),
    "NFD": unicodedata.normalize("NFD", "café.jpg"),
    "emoji": "\U0001f33b/\U0001f468‍\U0001f469‍\U0001f467.jpg",
    "leading slash": "/a.jpg",
    "two slashes": "a//b.jpg",
    "trailing slash": "a/",
    "dots": "a/../b.jpg",
    "question mark": "a?versionId=1.jpg",
    "hash": "a#b.jpg",
    "ampersand and equals": "a&b=c;d.jpg",
    "quotes": "a\"b'c.jpg",
    "backslash": "a\\b.jpg",
    "newline": "a\nb\t.jpg",
    "replacement character": "a�b.jpg",
    "the whole bucket again": f"{BUCKET}/a.jpg",
    "1024 bytes": "x" * 1020 + ".jpg",
    "1024 bytes of UTF-8": "é" * 510 + ".jpg",
}

STORE_IDS = [store.origin.value for store in STORES]


@pytest.mark.parametrize("store", STORES, ids=STORE_IDS)
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_a_key_arrives_as_it_is_in_the_bucket(store: Store, key: str) -> None:
    reading = read(store.write(key))
    assert not reading.refused
    # EventBridge alone is read in two ways where its encoding cannot be told; the plain one is always there.
    assert keys(reading)[0] == key
    assert len(keys(reading)) == 1 or store.origin is EventOrigin.EVENTBRIDGE
    assert {(event.bucket, event.origin, event.source) for event in reading.events} == {(BUCKET, store.origin, "s3")}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_all_stores_agree_on_the_point(key: str) -> None:
    assert len({read(store.write(key)).events[0].point_id for store in STORES}) == 1


@pytest.mark.parametrize("store", STORES, ids=STORE_IDS)
def test_no_two_keys_become_one_point(store: Store) -> None:
    points = {name: read(store.write(key)).events[0].point_id for name, key in KEYS.items()}
    assert [pair for pair in combinations(points, 2) if points[pair[0]] == points[pair[1]]] == []


@pytest.mark.parametrize("store", STORES, ids=STORE_IDS)
@given(key=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=256))
def test_any_key_survives_any_store_and_any_envelope(store: Store, key: str) -> None:
    message = store.write(key)
    for travelled in (message, in_sns(message), in_sqs(message), in_sqs(in_sns(message))):
        assert keys(read(travelled))[0] == key


@pytest.mark.parametrize("store", STORES, ids=STORE_IDS)
@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513, "\U0001f33b" * 257, "a\0b"])
def test_what_s3_would_not_store_is_refused(store: Store, key: str) -> None:
    reading = read(store.write(key))
    assert not reading.events
    assert [one.reason for one in reading.refused] == ["invalid_key"]


@pytest.mark.parametrize("encoded", ["%FF.jpg", "a%C3.jpg", "%ED%A0%80.jpg", "\ud800.jpg"])
def test_bytes_that_are_no_utf8_name_no_other_object(encoded: str) -> None:
    reading = read({"Records": [s3_record("aws:s3", "ObjectCreated:Put", encoded)]})
    assert [one.reason for one in reading.refused] == ["invalid_key"]
    assert not reading.events


def test_minio_wins_over_its_own_summary_only_where_there_is_no_record() -> None:
    message = minio("a+b c.jpg")
    assert keys(read(message)) == ["a+b c.jpg"]
    assert keys(read(message | {"Records": []})) == ["a+b c.jpg"]


def test_eventbridge_is_read_in_both_ways_only_where_it_could_be_either() -> None:
    assert keys(read(eventbridge("a+b.jpg"))) == ["a+b.jpg", "a b.jpg"]
    assert keys(read(eventbridge("caf%C3%A9.jpg"))) == ["caf%C3%A9.jpg", "café.jpg"]
    assert keys(read(eventbridge("a+b c.jpg"))) == ["a+b c.jpg"]
    assert keys(read(eventbridge("100%.jpg"))) == ["100%.jpg"]
    assert keys(read(eventbridge("%FF.jpg"))) == ["%FF.jpg"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=256))
def test_form_encoding_is_undone_exactly_once(key: str) -> None:
    once = quote_plus(key, safe="/")
    assert key_rules.form_decoded(once) == key
    assert key_rules.form_decoded(quote_plus(once[:1024], safe="/")) == once[:1024]
