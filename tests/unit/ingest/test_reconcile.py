import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from qdrant_client import AsyncQdrantClient

from runtime.release import RELEASE
from schemas.codec import Message, decode_image_event
from schemas.collection import CollectionMetadata, PointPayload, Status
from schemas.dead_letter import RejectReason
from schemas.errors import DependencyUnavailable
from schemas.events import EncoderIdentity, ImageEvent, point_id
from services.ingest.drift import ReconcileMetrics, Report
from services.ingest.reconcile import GRACE, PAGE, UNREADABLE_AGAIN, Guard, Reconciler
from stores.objects import Flowed, ListedObject, Look
from stores.qdrant_server import QdrantIndex
from stores.vectors import Point

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ENCODER = EncoderIdentity(model="m", fingerprint="w-p-fp32", dimension=2)


class Bucket:
    bucket = "b"

    def __init__(
        self,
        objects: dict[str, str],
        *,
        breaks_after: int | None = None,
        modified: Mapping[str, datetime] | None = None,
        source: str = "s3",
    ) -> None:
        self.objects = objects
        self.breaks_after = breaks_after
        self.modified = modified or {}
        self.source = source

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def look(self, key: str, *, flowed: Flowed = lambda count: None) -> Look:
        raise AssertionError("reconcile never looks")

    async def list(self, prefix: str = "") -> AsyncIterator[ListedObject]:
        for number, (key, etag) in enumerate(sorted(self.objects.items())):
            if number == self.breaks_after:
                raise DependencyUnavailable("s3", "the listing broke off", "wait")
            if key.startswith(prefix):
                yield ListedObject(key, etag, len(etag), self.modified.get(key, NOW))


class Sent:
    def __init__(self) -> None:
        self.events: list[ImageEvent] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        self.events += [decode_image_event(message.value, message.headers) for message in messages]

    @property
    def keys(self) -> list[str]:
        return sorted(event.key for event in self.events)


def stored(key: str, etag: str | None, *, version: int = 5, status: Status = Status.INDEXED, **more: Any) -> Point:
    payload = PointPayload(
        source=more.pop("source", "s3"),
        bucket=more.pop("bucket", "b"),
        key=key,
        status=status,
        version=version,
        model="m",
        fingerprint=more.pop("fingerprint", ENCODER.fingerprint),
        indexed_at=more.pop("indexed_at", NOW),
        etag=etag,
        size=None if etag is None else len(etag),
        **more,
    )
    angle = int(hashlib.sha256(key.encode()).hexdigest()[:6], 16)
    vector = np.array([np.cos(angle), np.sin(angle)], np.float32) if status is Status.INDEXED else None
    return Point(point_id(payload.source, payload.bucket, key), payload, vector)


async def index_of(*points: Point) -> QdrantIndex:
    index = QdrantIndex("images__m", client=AsyncQdrantClient(":memory:"))
    await index.__aenter__()
    await index.ensure(CollectionMetadata(encoder=ENCODER, created_at=NOW))
    for start in range(0, len(points), 256):
        await index.write(points[start : start + 256])
    return index


async def reconcile(
    objects: dict[str, str] | Bucket, *points: Point, guard: Guard = Guard(), dry_run: bool = False, **options: Any
) -> tuple[Report, Sent]:
    sent = Sent()
    reconciler = Reconciler(
        objects if isinstance(objects, Bucket) else Bucket(objects),
        await index_of(*points),
        None if dry_run else sent,
        encoder=ENCODER,
        wants=lambda key: not key.endswith(".txt"),
        guard=guard,
        **options,
    )
    return await reconciler.run(), sent


async def test_every_kind_of_drift_becomes_a_hint_that_carries_the_stored_version() -> None:
    report, sent = await reconcile(
        {"same": "e1", "changed": "new", "added": "e", "back": "e", "notes.txt": "e"},
        stored("same", "e1"),
        stored("changed", "old", version=70),
        stored("deleted", "e", version=80),
        stored("back", None, version=90, status=Status.GONE),
        stored("long gone", None, status=Status.GONE),
        stored("notes.txt", "e"),
    )
    assert (report.listed, report.unwanted, report.unchanged) == (4, 1, 1)
    assert (report.missing, report.stale, report.orphaned, report.refused) == (2, 1, 1, None)
    assert {event.key: event.after for event in sent.events} == {"changed": 70, "added": 0, "back": 90, "deleted": 80}


async def test_an_index_that_agrees_needs_nothing() -> None:
    report, sent = await reconcile({"a": "e1", "b": "e2"}, stored("a", "e1"), stored("b", "e2"))
    assert report.drift == 0
    assert sent.events == []


async def test_a_dry_run_counts_the_same_and_sends_nothing() -> None:
    report, sent = await reconcile({"a": "e1"}, stored("b", "e2"), dry_run=True)
    assert (report.missing, report.orphaned) == (1, 1)
    assert sent.events == []


async def test_another_encoder_makes_everything_stale() -> None:
    report, sent = await reconcile({"a": "e1"}, stored("a", "e1", fingerprint="other-p-fp32"))
    assert report.stale == 1
    assert sent.keys == ["a"]


async def test_what_was_rejected_is_left_until_its_bytes_or_the_release_change_or_someone_asks() -> None:
    verdict: dict[str, Any] = {"status": Status.REJECTED, "reason": RejectReason.EMPTY, "release": RELEASE}
    points = [
        stored("same", "e1", **verdict),
        stored("changed", "old", **verdict),
        stored("older", "e1", **(verdict | {"release": "0.0.1"})),
    ]
    objects = {"same": "e1", "changed": "new", "older": "e1"}
    _, sent = await reconcile(objects, *points)
    assert sent.keys == ["changed", "older"]
    report, sent = await reconcile(objects, *points, retry_rejected=True)
    assert report.retried == 1
    assert sent.keys == ["changed", "older", "same"]


def ago(**units: float) -> datetime:
    return datetime.now(UTC) - timedelta(**units)


async def test_what_changed_lately_is_hinted_and_is_no_drift() -> None:
    lately, before = ago(seconds=30), datetime.now(UTC) - GRACE - timedelta(seconds=1)
    dates = {"new": lately, "changed": lately, "back": lately, "lost": before, "dated ahead": ago(days=-400)}
    report, sent = await reconcile(
        Bucket(dict.fromkeys([*dates, "changed since its listing"], "e2"), modified=dates),
        stored("changed", "e1"),
        stored("back", None, status=Status.GONE),
        stored("changed since its listing", "e3", uploaded_at=lately),
    )
    assert (report.recent, report.missing, report.stale, report.drift) == (4, 2, 0, 2)
    assert sent.keys == sorted([*dates, "changed since its listing"])
    assert report.hinted == 6


async def test_a_point_that_was_written_during_the_pass_is_no_orphan_before_the_next_one() -> None:
    points = stored("before", "e", indexed_at=ago(minutes=1)), stored("meanwhile", "e", indexed_at=ago(minutes=-1))
    report, sent = await reconcile({}, *points)
    assert report.orphaned == 1
    assert sent.keys == ["before"]


async def test_a_check_of_an_earlier_pass_counts_what_was_there_when_that_one_began_and_nothing_later() -> None:
    began = ago(seconds=10)
    dates = {"its hint is not done": ago(seconds=20), "uploaded since": ago(seconds=5)}
    written_since = stored("uploaded, indexed and deleted since", "e", indexed_at=ago(seconds=3))
    report, _ = await reconcile(
        Bucket(dict.fromkeys(dates, "e"), modified=dates), written_since, dry_run=True, as_of=began
    )
    assert (report.missing, report.recent, report.orphaned) == (1, 1, 0)
    assert report.began == began


def unreadable(key: str, looked_at: datetime, *, version: int | None = None, **more: Any) -> Point:
    version = int(looked_at.timestamp() * 1000) if version is None else version
    return stored(key, None, version=version, status=Status.GONE, indexed_at=looked_at, **more)


async def test_what_is_listed_and_was_found_unreadable_is_no_drift_and_is_looked_at_again_after_an_hour() -> None:
    changed, long_ago = int(NOW.timestamp() * 1000), datetime.now(UTC) - UNREADABLE_AGAIN - timedelta(seconds=1)
    points = [
        unreadable("looked at lately", ago(minutes=50)),
        unreadable("looked at long ago", long_ago),
        # The date is rounded down: the object may have come after these looks.
        unreadable("deleted and uploaded within a second", ago(minutes=50), version=changed + 1000),
    ]
    bucket = Bucket({point.payload.key: "e" for point in points})
    report, sent = await reconcile(bucket, *points)
    assert (report.unreadable, report.missing, report.drift) == (2, 1, 1)
    assert sent.keys == ["deleted and uploaded within a second", "looked at long ago"]
    # A folder lists no file that may not be read, and a file that is moved back keeps its date.
    bucket.source = "folder"
    report, sent = await reconcile(bucket, unreadable("looked at lately", ago(minutes=50), source="folder"))
    assert (report.unreadable, report.missing) == (0, 3)


async def test_only_the_prefix_is_compared() -> None:
    report, sent = await reconcile(
        {"in/a": "e", "out/a": "e"}, stored("in/gone", "e"), stored("out/gone", "e"), prefix="in/"
    )
    assert sent.keys == ["in/a", "in/gone"]
    assert report.listed == 1


async def test_another_bucket_in_the_same_index_is_left_alone() -> None:
    report, sent = await reconcile({}, stored("a", "e", bucket="other"))
    assert report.drift == 0
    assert sent.events == []


def mass(count: int, kept: int) -> tuple[dict[str, str], list[Point]]:
    points = [stored(f"{n:05}", "e") for n in range(count)]
    return {f"{n:05}": "e" for n in range(kept)}, points


@pytest.mark.parametrize(
    ("count", "kept", "guard", "refused"),
    [
        (1000, 890, Guard(), True),
        (1000, 910, Guard(), False),  # many, but a small share
        (50, 0, Guard(), False),  # all, but few
        (1000, 0, Guard(share=1.0, count=2**62), False),
        (300, 0, Guard(only_empty=True), True),
        (300, 1, Guard(only_empty=True), False),
    ],
)
async def test_a_mass_of_deletions_needs_a_word(count: int, kept: int, guard: Guard, refused: bool) -> None:
    objects, points = mass(count, kept)
    report, sent = await reconcile(objects, *points, guard=guard)
    assert (report.refused is not None) == refused
    assert len(sent.events) == (0 if refused else count - kept)
    assert report.orphaned == count - kept


async def test_a_guard_that_refuses_the_orphans_lets_the_rest_through() -> None:
    objects, points = mass(500, 0)
    report, sent = await reconcile({**objects, "added": "e"}, *points)
    assert report.refused is not None
    assert "--allow-mass-delete" in report.refused
    assert sent.keys == ["added"]


async def test_a_listing_that_breaks_off_turns_nothing_to_gone() -> None:
    sent = Sent()
    points = [stored(f"{n:05}", "e") for n in range(PAGE + 20)]
    bucket = Bucket({f"{n:05}": "e" for n in range(PAGE + 20)}, breaks_after=PAGE + 10)
    reconciler = Reconciler(
        bucket, await index_of(*points), sent, encoder=ENCODER, wants=lambda key: True, guard=Guard()
    )
    with pytest.raises(DependencyUnavailable):
        await reconciler.run()
    assert sent.events == []


async def test_the_drift_is_exported() -> None:
    registry = CollectorRegistry()
    await reconcile({"a": "e1"}, stored("b", "e2"), metrics=ReconcileMetrics(registry))

    def drift(kind: str) -> float | None:
        return registry.get_sample_value("sightline_reconcile_drift_objects", {"bucket": "b", "drift": kind})

    assert (drift("missing"), drift("stale"), drift("orphaned")) == (1, 0, 1)


keys = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(
    bucket=st.dictionaries(keys, st.sampled_from(["e1", "e2"])),
    index=st.dictionaries(keys, st.sampled_from(["e1", "e2"])),
)
def test_the_hints_are_exactly_the_difference(bucket: dict[str, str], index: dict[str, str]) -> None:
    report, sent = asyncio.run(
        reconcile(bucket, *(stored(key, etag) for key, etag in index.items()), guard=Guard(share=1.0, count=2**62))
    )
    wanted = {key for key in bucket if not key.endswith(".txt")}
    differing = {key for key in wanted if index.get(key) != bucket[key]} | (index.keys() - bucket.keys())
    assert sent.keys == sorted(differing)
    assert report.drift == len(differing)
