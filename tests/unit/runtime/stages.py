"""A stage whose answers a test decides, and the pieces that a worker needs around it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry

from runtime.batch import Received
from runtime.dead_letters import BudgetPolicy, DeadLetterBudget
from runtime.log import Log
from runtime.metrics import MetricSet, StageMetrics
from runtime.retry import Retry, RetryPolicy
from runtime.stage import Emit, Item, Outcome
from runtime.worker import Worker
from schemas.codec import Message, decode_image_event, encode
from schemas.dead_letter import DeadLetter
from schemas.events import EventOrigin, ImageEvent

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Answer = Callable[[Sequence[Item[ImageEvent]]], Mapping[str, Outcome]]


def event(key: str, *, after: int = 0) -> ImageEvent:
    return ImageEvent(
        source="s3", bucket="b", key=key, after=after, origin=EventOrigin.MINIO, received_at=NOW, event_time=NOW
    )


def message(key: str) -> Message:
    return encode(event(key))


def received(key: str, offset: int, *, partition: int = 0) -> Received:
    sent = message(key)
    return Received("image-events", partition, offset, sent.key, sent.value, sent.headers, NOW)


def echo(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
    return {item.id: Emit((item.event,)) for item in items}


class ScriptedStage:
    """Answers by the function it was given."""

    name = "scripted"

    def __init__(self, answer: Answer = echo) -> None:
        self.answer = answer
        self.seen: list[list[str]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def process(self, items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        self.seen.append([item.event.key for item in items])
        return self.answer(items)


@dataclass
class Recorder:
    """A publisher and a sink for dead letters that keep what they get, in the order of the calls."""

    calls: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)

    async def publish(self, messages: Sequence[Message]) -> None:
        self.calls.append("publish")
        self.messages += messages

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        self.calls.append("dead_letters")
        self.letters += letters

    def keys(self) -> list[str]:
        return [decode_image_event(sent.value, sent.headers).key for sent in self.messages]


@dataclass
class FakeBatch:
    records: Sequence[Received]
    recorder: Recorder
    abandoned: bool = False
    is_done: bool = False

    async def done(self) -> None:
        self.recorder.calls.append("done")
        self.is_done = True


def stage_metrics(registry: CollectorRegistry | None = None) -> StageMetrics:
    return MetricSet.make(registry or CollectorRegistry()).stage("scripted")


def worker_for(
    stage: ScriptedStage,
    recorder: Recorder,
    *,
    metrics: StageMetrics | None = None,
    budget: BudgetPolicy | None = None,
) -> Worker[ImageEvent]:
    metrics = metrics or stage_metrics()
    log = Log("test")
    return Worker(
        stage,
        lambda record: decode_image_event(record.value, record.headers),
        recorder,
        recorder,
        metrics=metrics,
        retry=Retry(RetryPolicy(first=0.001, most=0.002), stage=stage.name, metrics=metrics, log=log),
        budget=DeadLetterBudget(budget or BudgetPolicy(), log),
        log=log,
    )
