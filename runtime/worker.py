"""The one short function that every record of every stage passes through."""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from runtime.batch import Batch, Publisher, Received
from runtime.dead_letters import DeadLetterBudget, DeadLetterSink
from runtime.in_hand import InHand, Phase, taken_in_hand
from runtime.log import Log
from runtime.metrics import StageMetrics
from runtime.release import RELEASE
from runtime.retry import Retry
from runtime.stage import Emit, Item, Outcome, Reject, Stage
from runtime.tracing import BatchTrace, Tracing, Untraced
from schemas.codec import Message, encode, object_uri
from schemas.dead_letter import DeadLetter, Origin
from schemas.errors import UndecodableRecord

In = TypeVar("In")
Decode = Callable[[Received], In]


class Worker(Generic[In]):
    """Decodes a batch, has the stage process it, publishes, writes dead letters, and marks it done, in that order.

    Marking done last is what makes delivery at least once: whatever fails before it, the batch comes again.
    `publisher` may be None for a stage that emits nothing.
    """

    def __init__(
        self,
        stage: Stage[In],
        decode: Decode[In],
        publisher: Publisher | None,
        dead_letters: DeadLetterSink,
        *,
        metrics: StageMetrics,
        retry: Retry,
        budget: DeadLetterBudget,
        log: Log,
        tracing: Tracing | None = None,
    ) -> None:
        self.stage = stage
        self._decode = decode
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._retry = retry
        self._budget = budget
        self._log = log
        self._tracing = tracing or Untraced()

    def batches_of(self, records: int) -> None:
        """Batches hold at most so many records; said by whoever makes them."""
        self._metrics.capacity(records)

    def waited(self, seconds: float) -> None:
        """A consumer waited so long for a batch."""
        self._metrics.took(Phase.WAIT, seconds)

    async def handle(self, batch: Batch) -> None:
        """Take one batch through the stage. Raises only what must stop the consumer."""
        if not batch.records:
            return
        hand = self._metrics.received(batch.records)
        try:
            with taken_in_hand(hand), self._tracing.batch(self.stage.name, hand) as trace:
                await self._handle(batch, hand, trace)
        finally:
            self._metrics.left(hand)

    async def _handle(self, batch: Batch, hand: InHand, trace: BatchTrace) -> None:
        items, outcomes = self._decode_all(batch.records)
        if items:
            outcomes |= await self._phase(Phase.PROCESS, batch, hand, lambda: self._process(items))
        events = {item.id: item.event for item in items}
        messages, letters = self._sort(batch.records, events, outcomes, trace)
        self._budget.check(outcomes, self.stage.name)
        if messages:
            await self._phase(Phase.PUBLISH, batch, hand, lambda: self._publish(messages))
        if letters:
            await self._phase(Phase.DEAD_LETTER, batch, hand, lambda: self._dead_letters.write(letters))
        await self._phase(Phase.COMMIT, batch, hand, batch.done)
        self._metrics.finished(hand, events, outcomes, sent=len(messages))
        trace.finished(outcomes)
        took = time.perf_counter() - hand.began
        self._log.batch(self.stage.name, hand, outcomes, seconds=took, sent=len(messages), trace_id=trace.trace_id)

    def _decode_all(self, records: Sequence[Received]) -> tuple[list[Item[In]], dict[str, Outcome]]:
        items: list[Item[In]] = []
        outcomes: dict[str, Outcome] = {}
        for record in records:
            try:
                items.append(Item(record.id, self._decode(record)))
            except UndecodableRecord as error:
                outcomes[record.id] = Reject(error.reason, error.detail)
        return items, outcomes

    async def _process(self, items: Sequence[Item[In]]) -> dict[str, Outcome]:
        outcomes = dict(await self.stage.process(items))
        asked = {item.id for item in items}
        if outcomes.keys() != asked:
            raise RuntimeError(
                f"stage {self.stage.name} answered for {sorted(outcomes.keys() - asked)} unasked "
                f"and left {sorted(asked - outcomes.keys())} unanswered"
            )
        return outcomes

    def _sort(
        self, records: Sequence[Received], events: dict[str, In], outcomes: dict[str, Outcome], trace: BatchTrace
    ) -> tuple[list[Message], list[DeadLetter]]:
        messages: list[Message] = []
        letters: list[DeadLetter] = []
        for record in records:
            outcome = outcomes[record.id]
            if isinstance(outcome, Emit | Reject):
                messages += [encode(event, traceparent=trace.traceparent(record)) for event in outcome.events]
            if isinstance(outcome, Reject):
                letters.append(self._letter(record, events.get(record.id), outcome))
        return messages, letters

    def _letter(self, record: Received, event: In | None, reject: Reject) -> DeadLetter:
        return DeadLetter(
            stage=self.stage.name,
            reason=reject.reason,
            detail=reject.detail,
            object=object_uri(event),
            origin=Origin(
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                key=record.key,
                timestamp=record.timestamp,
                headers=record.headers,
            ),
            original=record.value,
            release=RELEASE,
            occurred_at=datetime.now(UTC),
        )

    async def _publish(self, messages: Sequence[Message]) -> None:
        if self._publisher is None:
            raise RuntimeError(f"stage {self.stage.name} emits events, but nothing publishes them")
        await self._publisher.publish(messages)

    async def _phase(self, phase: Phase, batch: Batch, hand: InHand, work: Callable[[], Awaitable[Any]]) -> Any:
        with self._metrics.phase(phase, hand):
            return await self._retry.call(work, until=lambda: batch.abandoned)
