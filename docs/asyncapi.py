"""docs/asyncapi.yaml: what travels on which topic, from the same models that the services run on."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import yaml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from runtime.release import RELEASE
from schemas.codec import SCHEMA_VERSION
from schemas.dead_letter import DeadLetter
from schemas.events import ImageEmbedded, ImageEvent, ImageGone, ImageRejected
from schemas.headers import SCHEMA, TRACEPARENT
from schemas.topics import DEAD_LETTERS, IMAGE_EMBEDDINGS, IMAGE_EVENTS, NOTIFICATIONS, TOPICS, TopicSpec

GOLDEN = Path(__file__).parent.parent / "tests" / "unit" / "schemas" / "golden"
"""The examples are the newest golden files: what a test proves to be written is what the page shows."""

REFERENCE = "#/components/schemas/{model}"


@dataclass(frozen=True)
class MessageSpec:
    """One kind of record on a topic; `golden` names its example."""

    name: str
    model: type[BaseModel]
    golden: str


MESSAGES: dict[str, tuple[MessageSpec, ...]] = {
    NOTIFICATIONS.name: (),
    IMAGE_EVENTS.name: (MessageSpec("image_event", ImageEvent, "image_event.json"),),
    IMAGE_EMBEDDINGS.name: (
        MessageSpec("image_embedded", ImageEmbedded, "image_embedded.msgpack"),
        MessageSpec("image_gone", ImageGone, "image_gone.msgpack"),
        MessageSpec("image_rejected", ImageRejected, "image_rejected.msgpack"),
    ),
    DEAD_LETTERS.name: (MessageSpec("dead_letter", DeadLetter, "dead_letter.json"),),
}

READS_AND_WRITES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ingest": ((NOTIFICATIONS.name,), (IMAGE_EVENTS.name, DEAD_LETTERS.name)),
    "embedder": ((IMAGE_EVENTS.name,), (IMAGE_EMBEDDINGS.name, DEAD_LETTERS.name)),
    "indexer": ((IMAGE_EMBEDDINGS.name,), (DEAD_LETTERS.name,)),
}


def asyncapi_page() -> str:
    """The page as YAML."""
    text = yaml.safe_dump(asyncapi_document(), sort_keys=False, allow_unicode=True, width=110)
    return f"# Written by `make docs` from schemas/; do not edit.\n{text}"


def asyncapi_document() -> dict[str, Any]:
    """The AsyncAPI 3.0 document. Topic names are those without `SIGHTLINE_KAFKA__TOPIC_PREFIX`."""
    specs = [spec for messages in MESSAGES.values() for spec in messages]
    _, schemas = models_json_schema([(spec.model, "validation") for spec in specs], ref_template=REFERENCE)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sightline",
            "version": ".".join(RELEASE.split(".")[:3]),
            "description": "The records that Sightline's services exchange over Apache Kafka. Unknown fields are "
            f"ignored; the header {SCHEMA} names the record type and its schema version.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": _operations(),
        "components": {
            "messages": {"notification": _notification()}
            | {spec.name: _message(spec, topic) for topic in TOPICS for spec in MESSAGES[topic.name]},
            "schemas": {name: _binary_as_bytes(schema) for name, schema in schemas["$defs"].items()},
        },
    }


def _channel(topic: TopicSpec) -> dict[str, Any]:
    names = [spec.name for spec in MESSAGES[topic.name]] or ["notification"]
    return {
        "address": topic.name,
        "description": topic.description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": ["delete"],
                    "retention.ms": int(topic.retention.total_seconds() * 1000),
                    "max.message.bytes": topic.max_message_bytes,
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for service, (reads, writes) in READS_AND_WRITES.items():
        for action, topics in (("receive", reads), ("send", writes)):
            for topic in topics:
                operations[f"{service}-{action}-{topic}"] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{topic}"},
                    "summary": f"{service} {'reads' if action == 'receive' else 'writes'} {topic}.",
                }
    return operations


def _message(spec: MessageSpec, topic: TopicSpec) -> dict[str, Any]:
    headers = {
        SCHEMA: {"type": "string", "const": f"{spec.name}/{SCHEMA_VERSION}"},
        TRACEPARENT: {"type": "string", "description": "W3C trace context, continued from the record that caused it."},
    }
    if spec.model is DeadLetter:
        headers["sightline-reason"] = {"$ref": "#/components/schemas/RejectReason"}
    return {
        "name": spec.name,
        "contentType": topic.content_type,
        "summary": (spec.model.__doc__ or "").strip().split("\n\n")[0].replace("\n", " "),
        "headers": {"type": "object", "properties": headers},
        "payload": {"$ref": REFERENCE.format(model=spec.model.__name__)},
        "bindings": {"kafka": {"key": _key(spec), "bindingVersion": "0.5.0"}},
        "examples": [{"name": spec.golden, "payload": _example(spec)}],
    }


def _key(spec: MessageSpec) -> dict[str, str]:
    if spec.model is DeadLetter:
        return {"type": "string", "description": "The key of the record that was rejected, byte for byte; may be null."}
    return {"type": "string", "description": "bucket/key as UTF-8: what is known of one object stays in order."}


def _notification() -> dict[str, Any]:
    return {
        "name": "notification",
        "contentType": "application/json",
        "summary": "A bucket notification in the object store's own format; any key, no headers of ours.",
        "payload": {"type": "object", "description": "AWS S3, SNS, SQS, EventBridge, MinIO, RustFS, Ceph, versitygw."},
    }


def _example(spec: MessageSpec) -> Any:
    newest = max(GOLDEN.glob(f"*/{spec.golden}"), key=lambda file: [int(n) for n in file.parent.name[1:].split(".")])
    data = newest.read_bytes()
    if not spec.golden.endswith(".msgpack"):
        return json.loads(data)
    fields = msgpack.unpackb(data)
    return {
        name: f"base64:{base64.b64encode(value).decode()}" if isinstance(value, bytes) else value
        for name, value in fields.items()
    }


def _binary_as_bytes(schema: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema has no bytes: say that MessagePack's binary type stands there."""
    for field in schema.get("properties", {}).values():
        if field.get("format") == "binary":
            field["description"] = "MessagePack binary; in the example written as base64."
    return schema
