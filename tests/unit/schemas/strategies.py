"""Hypothesis strategies for every record, as hostile as the models allow."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from schemas.dead_letter import DeadLetter, Origin, RejectReason
from schemas.events import (
    MAX_VERSION,
    Claim,
    EncoderIdentity,
    EventKind,
    EventOrigin,
    ImageEmbedded,
    ImageEvent,
    ImageFacts,
    ImageGone,
    ImageRejected,
    Location,
    ObjectFacts,
    Tag,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
sources = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)
buckets = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=60)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
versions = st.integers(0, MAX_VERSION)
# Whole minutes, as ISO 8601 writes offsets; years that survive a change of zone.
zones = st.just(UTC) | st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=zones)

encoders = st.builds(
    EncoderIdentity,
    model=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    fingerprint=st.from_regex(r"[0-9a-z]{1,8}-[0-9a-z]{1,8}-[0-9a-z]{1,8}", fullmatch=True),
    dimension=st.integers(1, 64),
)
claims = st.builds(
    Claim,
    event_name=text,
    etag=st.none() | text,
    size=st.none() | st.integers(-(2**63), 2**63 - 1),
    version_id=st.none() | text,
    sequencer=st.none() | text,
)
facts = st.builds(
    ObjectFacts,
    etag=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    size=st.integers(0, 2**50),
    content_type=st.none() | text,
    modified_at=times,
)
pictures = st.builds(
    ImageFacts,
    width=st.integers(1, 10**6),
    height=st.integers(1, 10**6),
    format=text,
    taken_at=st.none() | st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)) | times,
    camera=st.none() | text,
    orientation=st.none() | st.integers(1, 8),
    location=st.none() | st.builds(Location, lat=st.floats(-90, 90), lon=st.floats(-180, 180)),
)
tags = st.lists(st.builds(Tag, tag=text, score=st.floats(0, 1)), max_size=3).map(tuple)

_object = {"source": sources, "bucket": buckets, "key": keys}
_look = _object | {
    "version": versions,
    "encoder": encoders,
    "event_time": st.none() | times,
    "received_at": times,
    "origin": st.none() | text.map(lambda words: words[:40]),
    "looked_at": st.none() | times,
    "judged_at": st.none() | times,
}

image_events = st.builds(
    ImageEvent,
    **_object,
    kind=st.sampled_from(EventKind),
    origin=st.sampled_from(EventOrigin),
    after=versions,
    event_time=st.none() | times,
    received_at=times,
    claim=st.none() | claims,
)
images_gone = st.builds(ImageGone, **_look)
images_rejected = st.builds(
    ImageRejected, **_look, object=facts, reason=st.sampled_from(RejectReason), detail=text, release=text
)


@st.composite
def images_embedded(draw: st.DrawFn) -> ImageEmbedded:
    """Any bytes may stand for the vector here; whether they are finite and of unit length is the indexer's question."""
    look = draw(images_gone)
    size = 4 * look.encoder.dimension
    return ImageEmbedded(
        **look.model_dump(exclude={"type"}),
        object=draw(facts),
        image=draw(pictures),
        tags=draw(tags),
        tags_version=draw(st.none() | text),
        sha256=draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
        vector=draw(st.binary(min_size=size, max_size=size)),
    )


judgements = images_embedded() | images_gone | images_rejected
dead_letters = st.builds(
    DeadLetter,
    stage=text,
    reason=st.sampled_from(RejectReason),
    detail=text,
    object=st.none() | text,
    origin=st.builds(
        Origin,
        topic=text,
        partition=st.integers(0, 2**31 - 1),
        offset=st.integers(0, 2**63 - 1),
        key=st.none() | st.binary(max_size=60),
        timestamp=st.none() | times,
        headers=st.lists(st.tuples(text, st.binary(max_size=40)), max_size=3).map(tuple),
    ),
    original=st.binary(max_size=300),
    release=text,
    occurred_at=times,
)
