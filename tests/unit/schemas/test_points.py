"""Identity of points, and the payload that each judgement becomes."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.collection import PAYLOAD_INDEXES, PointPayload, Status, collection_name, payload_of
from schemas.events import (
    MAX_VERSION,
    EncoderIdentity,
    ImageEmbedded,
    ImageEvent,
    ImageGone,
    ImageRejected,
    Judgement,
    point_id,
)
from tests.unit.schemas import records, strategies

objects = st.tuples(strategies.sources, strategies.buckets, strategies.keys)


def test_the_id_of_an_object_never_changes() -> None:
    assert str(point_id("s3", "photos", "a/b c+d.jpg")) == "bca0f08e-d1a4-5f62-9387-a56bc419346e"
    assert str(point_id("folder", "photos", "a/b c+d.jpg")) == "1f52b2c3-2ccd-5d2d-89a3-65741db82623"


@given(objects, objects)
def test_two_objects_share_an_id_only_if_they_are_the_same(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    assert (point_id(*one) == point_id(*other)) == (one == other)


@given(st.lists(st.sampled_from(["a", "b", "/", ":", "//", "%2F"]), min_size=3, max_size=6), st.data())
def test_moving_a_slash_between_bucket_and_key_makes_another_object(parts: list[str], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(parts) - 1))
    bucket, key = "".join(parts[:cut]), "".join(parts[cut:])
    try:
        event = records.IMAGE_EVENT.model_validate(records.IMAGE_EVENT.model_dump() | {"bucket": bucket, "key": key})
    except ValidationError:
        assert "/" in bucket, "only a slash in the bucket's name may be refused here"
        return
    uri = f"{event.source}://{bucket}/{key}"
    assert uri.removeprefix(f"{event.source}://").partition("/")[::2] == (event.bucket, event.key)


@pytest.mark.parametrize(
    ("one", "other"),
    [("caf\u00e9.jpg", "cafe\u0301.jpg"), ("a b", "a+b"), ("a/b", "a//b"), ("/a", "a"), ("A", "a"), ("a%20b", "a b")],
)
def test_keys_that_only_look_alike_are_different_objects(one: str, other: str) -> None:
    assert point_id("s3", "photos", one) != point_id("s3", "photos", other)


@given(strategies.judgements)
def test_every_judgement_of_an_object_is_the_same_point_as_its_event(judgement: Judgement) -> None:
    event = ImageEvent(
        source=judgement.source,
        bucket=judgement.bucket,
        key=judgement.key,
        origin=records.IMAGE_EVENT.origin,
        received_at=judgement.received_at,
    )
    assert judgement.point_id == event.point_id
    assert judgement.partition_key == event.partition_key


@given(strategies.judgements, strategies.times)
def test_the_payload_of_a_judgement_survives_json(judgement: Judgement, indexed_at: datetime) -> None:
    payload = payload_of(judgement, indexed_at=indexed_at)
    assert PointPayload.model_validate(json.loads(json.dumps(payload.as_json()))) == payload
    assert (payload.source, payload.bucket, payload.key) == (judgement.source, judgement.bucket, judgement.key)
    assert payload.version == judgement.version
    assert payload.fingerprint == judgement.encoder.fingerprint
    assert payload.indexed_at == indexed_at


@given(strategies.images_embedded())
def test_an_embedded_image_is_indexed_with_all_that_is_known(judgement: ImageEmbedded) -> None:
    payload = payload_of(judgement, indexed_at=records.INDEXED_AT)
    assert payload.status is Status.INDEXED
    assert (payload.width, payload.height) == (judgement.image.width, judgement.image.height)
    assert (payload.etag, payload.size) == (judgement.object.etag, judgement.object.size)
    assert payload.sha256 == judgement.sha256
    assert payload.tags == judgement.tags
    assert payload.reason is None


@given(strategies.images_gone)
def test_a_gone_image_keeps_its_version_and_no_etag(judgement: ImageGone) -> None:
    payload = payload_of(judgement, indexed_at=records.INDEXED_AT)
    assert payload.status is Status.GONE
    assert payload.version == judgement.version
    assert payload.etag is None


@given(strategies.images_rejected)
def test_a_rejected_image_keeps_the_etag_the_reason_and_the_release_that_judged(judgement: ImageRejected) -> None:
    payload = payload_of(judgement, indexed_at=records.INDEXED_AT)
    assert payload.status is Status.REJECTED
    assert (payload.etag, payload.reason, payload.release) == (
        judgement.object.etag,
        judgement.reason,
        judgement.release,
    )
    assert payload.width is None


def test_a_camera_clock_without_a_zone_is_stored_as_if_it_were_utc() -> None:
    assert records.POINT_INDEXED.taken_at == datetime(2026, 2, 28, 17, 4, 59, tzinfo=UTC)


def test_every_payload_index_names_a_field_of_the_payload() -> None:
    fields = set(PointPayload.model_fields)
    assert {name.partition("[]")[0] for name in PAYLOAD_INDEXES} <= fields


@pytest.mark.parametrize("version", [-1, MAX_VERSION + 1])
def test_a_version_that_float64_cannot_hold_is_refused(version: int) -> None:
    fields = records.IMAGE_GONE.model_dump() | {"version": version}
    with pytest.raises(ValidationError, match="version"):
        ImageGone.model_validate(fields)


@pytest.mark.parametrize("field", ["source", "bucket", "key"])
def test_an_object_cannot_be_nameless(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        ImageGone.model_validate(records.IMAGE_GONE.model_dump() | {field: ""})


@pytest.mark.parametrize(
    ("model", "name"),
    [("ViT-B-32/openai", "images__ViT-B-32_openai"), ("hashing", "images__hashing"), ("a.b c", "images__a_b_c")],
)
def test_a_collection_is_named_after_its_model(model: str, name: str) -> None:
    assert collection_name(model) == name


def test_encoders_that_differ_in_the_dtype_alone_share_a_space() -> None:
    cpu = EncoderIdentity(model="m", fingerprint="w1-p1-fp32", dimension=4)
    gpu = EncoderIdentity(model="m", fingerprint="w1-p1-bf16", dimension=4)
    other = EncoderIdentity(model="m", fingerprint="w1-p2-fp32", dimension=4)
    assert cpu.space == gpu.space
    assert cpu.space != other.space


def test_records_cannot_be_changed_after_they_are_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        records.IMAGE_GONE.version = 1  # type: ignore[misc]
