"""One member of `Records`: AWS S3, and the stores that imitate it, each in its own way.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html. The
differences that matter: MinIO, RustFS and versitygw write `s3:` before the event name; MinIO and
RustFS escape slashes; Ceph and versitygw escape nothing; versitygw calls itself `aws:s3`.
"""

from collections.abc import Callable

from schemas.dead_letter import RejectReason
from schemas.errors import UndecodableRecord
from schemas.events import Claim, EventOrigin
from services.ingest.formats.fields import member, printable, size_of, text_of, time_of
from services.ingest.formats.keys import form_decoded, plain
from services.ingest.formats.names import meaning_of
from services.ingest.formats.observation import Ignored, Observation, ObservedChange, Refused

KeyRule = Callable[[object], str]

_SOURCES: dict[str, tuple[EventOrigin, KeyRule]] = {
    "aws:s3": (EventOrigin.AWS, form_decoded),
    "minio:s3": (EventOrigin.MINIO, form_decoded),
    "rustfs:s3": (EventOrigin.RUSTFS, form_decoded),
    "ceph:s3": (EventOrigin.CEPH, plain),
}

_VERSITYGW_CONFIGURATIONS = {"webhook-global", "kafka-global", "nats-global", "rabbitmq-global"}


def read_record(record: dict[str, object]) -> Observation:
    """What one S3 record says. Raises `UndecodableRecord` where it does not even say which store wrote it."""
    origin, key_rule = _source(record)
    try:
        return _read(record, origin, key_rule)
    except UndecodableRecord as error:
        return Refused(error.reason, error.detail, origin)


def _read(record: dict[str, object], origin: EventOrigin, key_rule: KeyRule) -> ObservedChange | Ignored:
    version = text_of(record.get("eventVersion")) or "2"
    if version.partition(".")[0] != "2":
        raise UndecodableRecord(
            RejectReason.UNKNOWN_NOTIFICATION, f"eventVersion is {printable(version)}; this release reads 2.x"
        )
    name = text_of(record.get("eventName")) or ""
    kind = meaning_of(name)
    if kind is None:
        return Ignored(origin, printable(name))
    return ObservedChange(
        bucket=bucket_name(member(record, "s3", "bucket", "name")),
        key=key_rule(member(record, "s3", "object", "key")),
        kind=kind,
        origin=origin,
        event_time=time_of(record.get("eventTime")),
        claim=Claim(
            event_name=name,
            etag=text_of(member(record, "s3", "object", "eTag")),
            size=size_of(member(record, "s3", "object", "size")),
            version_id=text_of(member(record, "s3", "object", "versionId")),
            sequencer=text_of(member(record, "s3", "object", "sequencer")),
        ),
    )


def read_summary(message: dict[str, object]) -> ObservedChange | Ignored:
    """What MinIO says around its record: `EventName`, and `Key` as bucket/key, not encoded.

    Raises `UndecodableRecord`.
    """
    name = text_of(message.get("EventName")) or ""
    kind = meaning_of(name)
    if kind is None:
        return Ignored(EventOrigin.MINIO, printable(name))
    path = message.get("Key")
    bucket, _, key = path.partition("/") if isinstance(path, str) else ("", "", "")
    return ObservedChange(
        bucket=bucket_name(bucket),
        key=plain(key),
        kind=kind,
        origin=EventOrigin.MINIO,
        event_time=None,
        claim=Claim(event_name=name),
    )


def bucket_name(value: object) -> str:
    """A bucket's name. Raises `UndecodableRecord` where it cannot be one."""
    name = text_of(value, most=255)
    if not name or "/" in name or "\0" in name:
        raise UndecodableRecord(
            RejectReason.MALFORMED_RECORD, f"{printable(value)} is no bucket's name; the record names no object"
        )
    return name


def _source(record: dict[str, object]) -> tuple[EventOrigin, KeyRule]:
    source = record.get("eventSource")
    known = _SOURCES.get(source) if isinstance(source, str) else None
    if known is None:
        raise UndecodableRecord(
            RejectReason.UNKNOWN_NOTIFICATION,
            f"eventSource is {printable(source)}, and no store is known by that name: how it writes keys is unknown",
        )
    if known[0] is EventOrigin.AWS and _is_versitygw(record):
        return EventOrigin.VERSITYGW, plain
    return known


def _is_versitygw(record: dict[str, object]) -> bool:
    # AWS writes neither the capital P nor the prefix; a configuration's id is its owner's choice, so it needs both.
    name = record.get("eventName")
    identity = record.get("userIdentity")
    return (
        isinstance(name, str)
        and name.startswith("s3:")
        and (
            (isinstance(identity, dict) and "PrincipalId" in identity)
            or text_of(member(record, "s3", "configurationId")) in _VERSITYGW_CONFIGURATIONS
        )
    )
