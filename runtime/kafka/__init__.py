"""Apache Kafka as a transport: the only package that knows FastStream and aiokafka.

- `KafkaConsumer` makes batches of a topic for a worker; `KafkaPublisher` sends messages.
- `ensure_topics` and `check_broker` are what a process does before it starts.
- `GroupLag` tells how far behind groups are.
- `read_dead_letters` reads the dead letters for a person.
"""

from runtime.kafka.admin import check_broker, ensure_topics
from runtime.kafka.connection import group_name, topic_name
from runtime.kafka.consumer import KafkaConsumer
from runtime.kafka.dead_letters import StoredDeadLetter, read_dead_letters
from runtime.kafka.group_lag import GroupLag
from runtime.kafka.metrics import KafkaMetrics
from runtime.kafka.producer import KafkaPublisher

__all__ = [
    "GroupLag",
    "KafkaConsumer",
    "KafkaMetrics",
    "KafkaPublisher",
    "StoredDeadLetter",
    "check_broker",
    "ensure_topics",
    "group_name",
    "read_dead_letters",
    "topic_name",
]
