"""What each store sends, and what it comes to: samples/<name>.json against the line of that name."""

import json
from pathlib import Path

import pytest

from runtime.settings import LimitSettings
from schemas.events import EventKind, EventOrigin
from services.ingest.formats import Ignored, ObservedChange, Refused, read_notification

SAMPLES = Path(__file__).parent / "samples"
BUCKET = "holiday-photos"
FLOWER = "2026/red flower.jpg"
CREATED, REMOVED = EventKind.CREATED, EventKind.REMOVED

HINTS = {
    "aws_put": [(EventOrigin.AWS, FLOWER, CREATED)],
    "aws_multipart": [(EventOrigin.AWS, FLOWER, CREATED)],
    "aws_delete_marker": [(EventOrigin.AWS, FLOWER, REMOVED)],
    "aws_lifecycle_expiration": [(EventOrigin.AWS, FLOWER, REMOVED)],
    "aws_newest_version": [(EventOrigin.AWS, FLOWER, CREATED)],
    "aws_in_sns": [(EventOrigin.AWS, FLOWER, CREATED)],
    "aws_in_sqs": [(EventOrigin.AWS, FLOWER, CREATED), (EventOrigin.AWS, "2026/gone.jpg", REMOVED)],
    "aws_in_sns_in_sqs": [(EventOrigin.AWS, FLOWER, CREATED)],
    "aws_in_sns_for_lambda": [(EventOrigin.AWS, FLOWER, CREATED)],
    "eventbridge_created": [(EventOrigin.EVENTBRIDGE, FLOWER, CREATED)],
    "eventbridge_deleted": [(EventOrigin.EVENTBRIDGE, FLOWER, REMOVED)],
    "eventbridge_in_sqs": [(EventOrigin.EVENTBRIDGE, FLOWER, CREATED)],
    "eventbridge_pipes_batch": [
        (EventOrigin.EVENTBRIDGE, FLOWER, CREATED),
        (EventOrigin.EVENTBRIDGE, "2026/gone.jpg", REMOVED),
    ],
    "minio_put": [(EventOrigin.MINIO, FLOWER, CREATED)],
    "minio_delete": [(EventOrigin.MINIO, FLOWER, REMOVED)],
    "minio_lifecycle": [(EventOrigin.MINIO, FLOWER, REMOVED)],
    "minio_without_records": [(EventOrigin.MINIO, FLOWER, CREATED)],
    "rustfs_put": [(EventOrigin.RUSTFS, FLOWER, CREATED)],
    "ceph_put": [(EventOrigin.CEPH, FLOWER, CREATED)],
    "ceph_initiate_multipart": [(EventOrigin.CEPH, FLOWER, CREATED)],
    "ceph_lifecycle": [(EventOrigin.CEPH, FLOWER, REMOVED)],
    "ceph_synced": [(EventOrigin.CEPH, FLOWER, CREATED)],
    "ceph_synced_delete": [(EventOrigin.CEPH, FLOWER, REMOVED)],
    "versitygw_put": [(EventOrigin.VERSITYGW, FLOWER, CREATED)],
    "versitygw_delete_objects": [(EventOrigin.VERSITYGW, "2026/a%2Bb.jpg", REMOVED)],
}

NO_WORK = {
    "aws_tagging": EventOrigin.AWS,
    "aws_acl": EventOrigin.AWS,
    "aws_intelligent_tiering": EventOrigin.AWS,
    "aws_restore": EventOrigin.AWS,
    "aws_test_event": None,
    "aws_test_event_in_sns": None,
    "sns_subscription": None,
    "eventbridge_tags": EventOrigin.EVENTBRIDGE,
    "minio_put_tagging": EventOrigin.MINIO,
    "minio_put_retention": EventOrigin.MINIO,
    "minio_legal_hold": EventOrigin.MINIO,
    "minio_bucket_removed": EventOrigin.MINIO,
    "ceph_lifecycle_abort": EventOrigin.CEPH,
    "ceph_lifecycle_transition": EventOrigin.CEPH,
    "versitygw_tagging": EventOrigin.VERSITYGW,
    "versitygw_test_event": None,
}


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


def observed(value: bytes) -> list[ObservedChange | Ignored | Refused]:
    return list(read_notification(value, limits=LimitSettings()))


def change(value: bytes) -> ObservedChange:
    (seen,) = observed(value)
    assert isinstance(seen, ObservedChange)
    return seen


def test_every_sample_is_expected_to_be_something() -> None:
    assert {path.stem for path in SAMPLES.glob("*.json")} == HINTS.keys() | NO_WORK.keys()


@pytest.mark.parametrize("name", HINTS)
def test_a_change_is_a_hint_for_the_object_that_changed(name: str) -> None:
    seen = observed(sample(name))
    changes = [one for one in seen if isinstance(one, ObservedChange)]
    assert len(changes) == len(seen)
    assert [(one.origin, one.key, one.kind) for one in changes] == HINTS[name]
    assert {one.bucket for one in changes} == {BUCKET}


@pytest.mark.parametrize("name", NO_WORK)
def test_what_left_the_bytes_alone_is_ignored(name: str) -> None:
    (seen,) = observed(sample(name))
    assert isinstance(seen, Ignored)
    assert seen.origin is NO_WORK[name]


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("aws_put", "2026-03-01T09:30:00.125000+00:00"),
        ("eventbridge_created", "2026-03-01T09:30:00+00:00"),
        ("ceph_put", "2026-03-01T09:30:00.125314+00:00"),
        ("versitygw_put", "2026-03-01T09:30:00+00:00"),
    ],
)
def test_the_stores_time_is_read_in_whatever_form_it_comes(name: str, time: str) -> None:
    seen = change(sample(name))
    assert seen.event_time is not None
    assert seen.event_time.isoformat() == time


@pytest.mark.parametrize("time", [None, 7, "", "yesterday", "0001-01-01T00:00:00+23:59", "9" * 5000, [], {}])
def test_a_time_that_cannot_be_read_costs_nothing_but_the_time(time: object) -> None:
    message = json.loads(sample("aws_put"))
    message["Records"][0]["eventTime"] = time
    seen = change(json.dumps(message).encode())
    assert (seen.key, seen.event_time) == (FLOWER, None)


def test_the_claim_is_kept_for_people() -> None:
    claim = change(sample("ceph_put")).claim
    assert (claim.event_name, claim.size) == ("ObjectCreated:Put", 48213)
    assert claim.etag == "9f620878e06d28774406017480a59fd4"
    assert claim.sequencer == "D804A4696A1F7807"


@pytest.mark.parametrize("size", ["-1", "1e3", "²", True, -1, 2**63, 1.5, None, [], "9" * 30])
def test_a_size_that_is_none_is_left_out(size: object) -> None:
    message = json.loads(sample("ceph_put"))
    message["Records"][0]["s3"]["object"]["size"] = size
    assert change(json.dumps(message).encode()).claim.size is None


def test_an_event_name_that_nobody_knows_is_a_hint() -> None:
    message = json.loads(sample("aws_put"))
    message["Records"][0]["eventName"] = "ObjectTeleported:Put"
    assert change(json.dumps(message).encode()).kind is EventKind.UNKNOWN


def test_a_subscription_is_explained_and_nothing_of_it_is_an_address_to_follow() -> None:
    (seen,) = observed(sample("sns_subscription"))
    assert isinstance(seen, Ignored)
    assert "arn:aws:sns:eu-west-1:111122223333:uploads" in seen.note
    assert "http" not in seen.note
    assert "made-up-token" not in seen.note


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("eventSource", "unknown_notification"),
        ("eventVersion", "unknown_notification"),
    ],
)
def test_a_foreign_source_or_a_new_major_version_is_refused(name: str, reason: str) -> None:
    message = json.loads(sample("aws_put"))
    message["Records"][0][name] = "3.0"
    (seen,) = observed(json.dumps(message).encode())
    assert isinstance(seen, Refused)
    assert seen.reason == reason


def test_an_eventbridge_event_of_another_service_is_refused() -> None:
    message = json.loads(sample("eventbridge_created")) | {"source": "aws.ec2"}
    (seen,) = observed(json.dumps(message).encode())
    assert isinstance(seen, Refused)
    assert "aws.ec2" in seen.detail


def test_an_owner_may_call_a_configuration_as_versitygw_does() -> None:
    message = json.loads(sample("aws_put"))
    message["Records"][0]["s3"]["configurationId"] = "webhook-global"
    seen = change(json.dumps(message).encode())
    assert (seen.origin, seen.key) == (EventOrigin.AWS, FLOWER)
