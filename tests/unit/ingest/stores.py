"""How each store writes a notification about a key, by its documentation or source; and a stage to read it with."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

from prometheus_client import CollectorRegistry

from runtime.settings import LimitSettings
from schemas.events import EventOrigin
from services.ingest.metrics import IngestMetrics
from services.ingest.stage import Notification, NotificationStage, Reading

BUCKET = "photos"


def s3_record(
    source: str, name: str, key: str, *, bucket: str = BUCKET, version: str = "2.1", **more: Any
) -> dict[str, Any]:
    return {
        "eventVersion": version,
        "eventSource": source,
        "awsRegion": "eu-west-1",
        "eventTime": "2026-03-01T09:30:00.125Z",
        "eventName": name,
        "userIdentity": {"principalId": "A1"},
        "requestParameters": {"sourceIPAddress": "192.0.2.7"},
        "responseElements": {"x-amz-request-id": "R1", "x-amz-id-2": "I1"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "to-search",
            "bucket": {"name": bucket, "ownerIdentity": {"principalId": "A1"}, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": key, "size": 1, "eTag": "e1", "sequencer": "0065A1"},
        },
    } | more


def aws(key: str) -> dict[str, Any]:
    return {"Records": [s3_record("aws:s3", "ObjectCreated:Put", quote_plus(key, safe="/*"))]}


def minio(key: str) -> dict[str, Any]:
    record = s3_record("minio:s3", "s3:ObjectCreated:Put", quote_plus(key, safe=""), version="2.0")
    return {"EventName": "s3:ObjectCreated:Put", "Key": f"{BUCKET}/{key}", "Records": [record]}


def rustfs(key: str) -> dict[str, Any]:
    # WHATWG form encoding: only letters, digits and *-._ stay.
    encoded = quote(key, safe="*-._ ").replace("~", "%7E").replace(" ", "+")
    record = s3_record("rustfs:s3", "s3:ObjectCreated:Put", encoded)
    return {"EventName": "s3:ObjectCreated:Put", "Key": f"{BUCKET}/{key}", "Records": [record]}


def ceph(key: str) -> dict[str, Any]:
    return {"Records": [s3_record("ceph:s3", "ObjectCreated:Put", key, version="2.2", eventId="1772357400.125000.e1")]}


def versitygw(key: str) -> dict[str, Any]:
    identity = {"PrincipalId": "A1"}
    record = s3_record("aws:s3", "s3:ObjectCreated:Put", key, version="2.2", userIdentity=identity)
    record["s3"]["configurationId"] = "webhook-global"
    return {"Records": [record]}


def eventbridge(key: str) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "11111111-2222-3333-4444-555555555555",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "111122223333",
        "time": "2026-03-01T09:30:00Z",
        "region": "eu-west-1",
        "resources": [f"arn:aws:s3:::{BUCKET}"],
        "detail": {
            "version": "0",
            "bucket": {"name": BUCKET},
            "object": {"key": key, "size": 1, "etag": "e1", "sequencer": "0065A1"},
            "reason": "PutObject",
        },
    }


@dataclass(frozen=True)
class Store:
    origin: EventOrigin
    write: Callable[[str], dict[str, Any]]


STORES = [
    Store(EventOrigin.AWS, aws),
    Store(EventOrigin.MINIO, minio),
    Store(EventOrigin.RUSTFS, rustfs),
    Store(EventOrigin.CEPH, ceph),
    Store(EventOrigin.VERSITYGW, versitygw),
    Store(EventOrigin.EVENTBRIDGE, eventbridge),
]


def in_sns(message: object) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "MessageId": "m1",
        "TopicArn": "arn:aws:sns:eu-west-1:111122223333:uploads",
        "Subject": "Amazon S3 Notification",
        "Message": json.dumps(message),
        "Timestamp": "2026-03-01T09:30:00.500Z",
        "SignatureVersion": "1",
        "Signature": "made-up",
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/made-up.pem",
    }


def in_sqs(*messages: object) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": f"m{i}",
                "receiptHandle": "h",
                "body": json.dumps(message),
                "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1772357400500"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:111122223333:uploads",
            }
            for i, message in enumerate(messages)
        ]
    }


def stage(
    *,
    allowed: Collection[str] = (),
    wants: Callable[[str], bool] = lambda key: True,
    limits: LimitSettings | None = None,
    registry: CollectorRegistry | None = None,
) -> NotificationStage:
    metrics = IngestMetrics(registry or CollectorRegistry())
    return NotificationStage(allowed, wants, limits or LimitSettings(), metrics=metrics)


def read(message: object, **options: Any) -> Reading:
    value = message if isinstance(message, bytes) else json.dumps(message).encode()
    return stage(**options).read(Notification(value))


def keys(reading: Reading) -> list[str]:
    return [event.key for event in reading.events]
