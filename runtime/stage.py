"""A stage says what happens to events; the worker and its transport say how.

For each event a stage answers with one outcome:

- `Emit`: publish these records, then the event is done.
- `Done`: nothing to publish.
- `Reject`: this event will never succeed. It becomes a dead letter, and `events` (if any) are published.

For the batch as a whole it may raise:

- `schemas.errors.DependencyUnavailable`: try the same batch again later. The worker backs off; nothing
  is dead-lettered and nothing is marked done.
- anything else: a bug. The process stops and exits non-zero; the batch is delivered again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from schemas.codec import Sendable
from schemas.dead_letter import RejectReason

In = TypeVar("In")


@dataclass(frozen=True)
class Item(Generic[In]):
    """An event and the id that its outcome is carried by. Ids are unique within a batch."""

    id: str
    event: In


@dataclass(frozen=True)
class Emit:
    """Publish these records; the event is then done."""

    events: tuple[Sendable, ...]


@dataclass(frozen=True)
class Done:
    """The event needs nothing more."""


@dataclass(frozen=True)
class Reject:
    """The event will never succeed: a dead letter, and the records (if any) that tell the next stage."""

    reason: RejectReason
    detail: str
    events: tuple[Sendable, ...] = ()


Outcome = Emit | Done | Reject


class Stage(Protocol[In]):
    """One step of the pipeline. Entered before the first batch (load, warm up) and left after the last.

    `process` is called with one batch at a time by each consumer, and by several consumers of one
    process at once: it must be safe for concurrent calls.
    """

    @property
    def name(self) -> str:
        """A bounded label for metrics, logs and dead letters."""
        ...

    async def __aenter__(self) -> Self:
        """Load, connect, warm up. May raise `ConfigurationError` or `DependencyUnavailable`."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release what `__aenter__` took."""
        ...

    async def process(self, items: Sequence[Item[In]]) -> Mapping[str, Outcome]:
        """One outcome for each item, by the item's id. Must not block the event loop."""
        ...
