"""Notifications in, hints out: what the stage makes of what was read."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from runtime.batch import Received
from runtime.settings import LimitSettings
from runtime.stage import Done, Emit, Item, Outcome, Reject
from schemas.dead_letter import RejectReason
from schemas.events import EventKind, ImageEvent
from services.ingest.metrics import IngestMetrics
from services.ingest.stage import Notification, NotificationStage, decode_notification
from tests.unit.ingest.receiving import ingest
from tests.unit.ingest.stores import BUCKET, aws, ceph, in_sqs, minio, s3_record, stage
from tests.unit.ingest.test_samples import sample

NOW = datetime(2026, 3, 1, 9, 30, 1, tzinfo=UTC)


def notification(message: object) -> Notification:
    return Notification(json.dumps(message).encode())


async def outcomes(*messages: object, **options: Any) -> Mapping[str, Outcome]:
    async with stage(**options) as entered:
        return await entered.process([Item(str(i), notification(message)) for i, message in enumerate(messages)])


async def only(message: object, **options: Any) -> Outcome:
    return (await outcomes(message, **options))["0"]


async def test_a_change_is_emitted_as_a_hint_with_the_time_it_was_received() -> None:
    made = NotificationStage((), lambda key: True, LimitSettings(), metrics=metrics(), now=lambda: NOW)
    outcome = (await made.process([Item("0", notification(minio("a b.jpg")))]))["0"]
    assert isinstance(outcome, Emit)
    (event,) = outcome.events
    assert event.model_dump(exclude_none=True, exclude={"claim"}) == {
        "type": "image_event",
        "source": "s3",
        "bucket": BUCKET,
        "key": "a b.jpg",
        "kind": EventKind.CREATED,
        "origin": "minio",
        "after": 0,
        "event_time": datetime(2026, 3, 1, 9, 30, 0, 125000, tzinfo=UTC),
        "received_at": NOW,
    }


async def test_each_notification_of_a_batch_has_its_own_outcome() -> None:
    tagging = {"Records": [s3_record("aws:s3", "ObjectTagging:Put", "a.jpg")]}
    answers = await outcomes(aws("a.jpg"), {"no": "notification"}, tagging, ceph("b.jpg"))
    assert [type(answers[str(i)]) for i in range(4)] == [Emit, Reject, Done, Emit]


async def test_what_needs_no_work_is_done() -> None:
    assert await only({"Service": "S3", "Event": "s3:TestEvent"}, allowed=["another"]) == Done()


async def test_keys_that_the_patterns_do_not_want_are_left_alone() -> None:
    assert await only(aws("notes.txt"), wants=lambda key: key.endswith(".jpg")) == Done()
    both = in_sqs(aws("notes.txt"), aws("a.jpg"))
    outcome = await only(both, wants=lambda key: key.endswith(".jpg"))
    assert isinstance(outcome, Emit)
    assert len(outcome.events) == 1


async def test_a_bucket_outside_the_list_is_rejected_and_those_inside_still_reach_the_embedder() -> None:
    foreign = {"Records": [s3_record("aws:s3", "ObjectCreated:Put", "secret.jpg", bucket="payroll")]}
    outcome = await only(in_sqs(foreign, aws("a.jpg")), allowed=[BUCKET])
    assert isinstance(outcome, Reject)
    assert outcome.reason is RejectReason.BUCKET_NOT_ALLOWED
    assert "payroll" in outcome.detail
    assert "SIGHTLINE_INGEST__BUCKETS" in outcome.detail
    assert [event.partition_key for event in outcome.events] == [f"{BUCKET}/a.jpg"]


async def test_two_mentions_of_one_object_are_one_hint_and_the_later_one_counts() -> None:
    removed = {"Records": [s3_record("aws:s3", "ObjectRemoved:Delete", "a.jpg")]}
    outcome = await only(in_sqs(aws("a.jpg"), aws("b.jpg"), removed))
    assert isinstance(outcome, Emit)
    assert [(event.key, event.kind) for event in outcome.events if isinstance(event, ImageEvent)] == [
        ("b.jpg", EventKind.CREATED),
        ("a.jpg", EventKind.REMOVED),
    ]


async def test_the_detail_of_a_rejection_stays_short_however_much_was_refused() -> None:
    outcome = await only({"Records": [{"eventSource": f"s{i}"} for i in range(5000)]})
    assert isinstance(outcome, Reject)
    assert len(outcome.detail) < 1000
    assert "5000 refused in all" in outcome.detail


async def test_what_became_of_each_change_is_counted_by_store() -> None:
    registry = CollectorRegistry()
    refused = {"Records": [s3_record("ceph:s3", "ObjectCreated:Put", "")]}
    tagging = {"Records": [s3_record("minio:s3", "s3:ObjectCreated:PutTagging", "a.jpg")]}
    await outcomes(
        aws("a.jpg"),
        in_sqs(aws("b.jpg"), aws("c.txt")),
        refused,
        tagging,
        7,
        registry=registry,
        wants=lambda key: not key.endswith(".txt"),
    )

    def counted(origin: str, became: str) -> float | None:
        return registry.get_sample_value("sightline_notifications_total", {"origin": origin, "became": became})

    assert counted("aws", "hint") == 2
    assert counted("aws", "unwanted") == 1
    assert counted("ceph", "refused") == 1
    assert counted("minio", "ignored") == 1
    assert counted("unknown", "refused") == 1


async def test_a_subscription_is_told_to_the_operator(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert await only(json.loads(sample("sns_subscription"))) == Done()
    assert "aws sns confirm-subscription" in caplog.text


async def test_a_poisoned_notification_becomes_a_dead_letter_with_its_original_bytes() -> None:
    class OneRecord:
        records = (Received("bucket-notifications", 2, 7, None, b"\xff not JSON"),)
        abandoned = False

        async def done(self) -> None:
            pass

    made = ingest()
    await made.worker.handle(OneRecord())
    (letter,) = made.kafka.letters
    assert (letter.reason, letter.original) == (RejectReason.MALFORMED_RECORD, b"\xff not JSON")
    assert (letter.origin.partition, letter.origin.offset) == (2, 7)


def test_decoding_keeps_the_bytes_for_the_stage_to_judge() -> None:
    assert decode_notification(Received("t", 0, 0, None, b"x")) == Notification(b"x")


def metrics() -> IngestMetrics:
    return IngestMetrics(CollectorRegistry())
