"""A worker around the notification stage, with a Kafka and dead letters that a test can break."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from runtime.dead_letters import BudgetPolicy, DeadLetterBudget
from runtime.log import Log
from runtime.metrics import MetricSet
from runtime.retry import Retry, RetryPolicy
from runtime.settings import LimitSettings
from runtime.worker import Worker
from schemas.codec import Message, decode_image_event
from schemas.dead_letter import DeadLetter
from schemas.events import ImageEvent
from services.ingest.metrics import IngestMetrics
from services.ingest.stage import Notification, NotificationStage, decode_notification

QUICK = RetryPolicy(first=0.001, most=0.005)


@dataclass
class Kafka:
    """Keeps what is published and dead-lettered. `before` runs first and may raise, wait, or set an event."""

    before: Callable[[], object] = lambda: None
    events: list[ImageEvent] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)

    async def publish(self, messages: Sequence[Message]) -> None:
        waits = self.before()
        if hasattr(waits, "__await__"):
            await waits
        self.events += [decode_image_event(message.value, message.headers) for message in messages]

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters

    @property
    def keys(self) -> list[str]:
        return [event.key for event in self.events]


@dataclass
class Ingest:
    """The pieces of one ingest service."""

    kafka: Kafka
    registry: CollectorRegistry
    metrics: IngestMetrics
    worker: Worker[Notification]

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def ingest(kafka: Kafka | None = None, *, allowed: Collection[str] = (), budget: BudgetPolicy | None = None) -> Ingest:
    kafka = kafka or Kafka()
    registry = CollectorRegistry()
    metrics = IngestMetrics(registry)
    standard = MetricSet.make(registry).stage("ingest")
    log = Log("test.ingest")
    stage = NotificationStage(allowed, lambda key: not key.endswith(".txt"), LimitSettings(), metrics=metrics, log=log)
    worker = Worker(
        stage,
        decode_notification,
        kafka,
        kafka,
        metrics=standard,
        retry=Retry(QUICK, stage="ingest", metrics=standard, log=log),
        budget=DeadLetterBudget(budget or BudgetPolicy(), log),
        log=log,
    )
    return Ingest(kafka, registry, metrics, worker)
