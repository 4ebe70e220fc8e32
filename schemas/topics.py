"""The Kafka topics: names, and what each needs from the cluster."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class TopicSpec:
    """A topic as it must be created. Sizes in bytes; `partitions` is a default that settings may raise."""

    name: str
    description: str
    partitions: int
    retention: timedelta
    max_message_bytes: int
    content_type: str

    def config(self) -> dict[str, str]:
        """The topic configuration as Kafka names it."""
        return {
            "retention.ms": str(int(self.retention.total_seconds() * 1000)),
            "max.message.bytes": str(self.max_message_bytes),
            "cleanup.policy": "delete",
        }


NOTIFICATIONS = TopicSpec(
    name="bucket-notifications",
    description="What an object store writes by itself, in its own format; read by ingest.",
    partitions=6,
    retention=timedelta(days=7),
    max_message_bytes=1024 * 1024,
    content_type="application/json",
)
IMAGE_EVENTS = TopicSpec(
    name="image-events",
    description="Hints that an object changed, keyed by bucket/key; written by ingest, read by the embedder.",
    partitions=12,
    retention=timedelta(days=7),
    max_message_bytes=1024 * 1024,
    content_type="application/json",
)
IMAGE_EMBEDDINGS = TopicSpec(
    name="image-embeddings",
    description="What a look at the object found, keyed by bucket/key; written by the embedder, read by the indexer.",
    partitions=12,
    retention=timedelta(days=7),
    max_message_bytes=1024 * 1024,
    content_type="application/msgpack",
)
DEAD_LETTERS = TopicSpec(
    name="dead-letters",
    description="Records that will never succeed, with reason, origin and original bytes.",
    partitions=3,
    retention=timedelta(days=30),
    max_message_bytes=4 * 1024 * 1024,
    content_type="application/json",
)

TOPICS = (NOTIFICATIONS, IMAGE_EVENTS, IMAGE_EMBEDDINGS, DEAD_LETTERS)
