"""The one short function that every record of every stage passes through."""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from runtime.batch import Batch, Publisher, Received
from runtime.dead_letters import DeadLetterBudget, DeadLetterSink
from runtime.log import Log
from runtime.metrics import Phase, StageMetrics
from runtime.release import RELEASE
from runtime.retry import Retry
from runtime.stage import Emit, Item, Outcome, Reject, Stage
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
    ) -> None:
        self.stage = stage
        self._decode = decode
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._retry = retry
        self._budget = budget
        self._log = log

    async def handle(self, batch: Batch) -> None:
        """Take one batch through the stage. Raises only what must stop the consumer."""
        if not batch.records:
            return
        self._metrics.received(batch.records)
        try:
            await self._handle(batch)
        finally:
            self._metrics.left()

    async def _handle(self, batch: Batch) -> None:
        started = time.perf_counter()
        items, outcomes = self._decode_all(batch.records)
        if items:
            outcomes |= await self._phase(Phase.PROCESS, batch, lambda: self._process(items))
        messages, letters = self._sort(batch.records, {item.id: item.event for item in items}, outcomes)
        self._budget.check(outcomes, self.stage.name)
        if messages:
            await self._phase(Phase.PUBLISH, batch, lambda: self._publish(messages))
        if letters:
            await self._phase(Phase.DEAD_LETTER, batch, lambda: self._dead_letters.write(letters))
        await self._phase(Phase.COMMIT, batch, batch.done)
        self._metrics.finished(batch.records, outcomes, sent=len(messages))
        self._log.batch(self.stage.name, batch.records, outcomes, time.perf_counter() - started)

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
        self, records: Sequence[Received], events: dict[str, In], outcomes: dict[str, Outcome]
    ) -> tuple[list[Message], list[DeadLetter]]:
        messages: list[Message] = []
        letters: list[DeadLetter] = []
        for record in records:
            outcome = outcomes[record.id]
            if isinstance(outcome, Emit | Reject):
                messages += [encode(event, caused_by=record.headers) for event in outcome.events]
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

    async def _phase(self, phase: Phase, batch: Batch, work: Callable[[], Awaitable[Any]]) -> Any:
        with self._metrics.phase(phase):
            return await self._retry.call(work, until=lambda: batch.abandoned)
