"""A batch while a stage works on it: how it moves, and where its seconds go.

The worker makes one for each batch, and a stage finds it by `in_hand()`: so a stage can say what it spends its time on
and that it moves, and still sees events only. What it says becomes metrics, spans and the batch's line in the log.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from runtime.batch import Received


class Phase(StrEnum):
    """Where a consumer's second goes."""

    WAIT = "wait"
    """For a batch to come."""
    PROCESS = "process"
    """In the stage; for the embedder that is made of fetch, decode and forward, for the indexer of upsert."""
    FETCH = "fetch"
    DECODE = "decode"
    FORWARD = "forward"
    UPSERT = "upsert"
    PUBLISH = "publish"
    DEAD_LETTER = "dead_letter"
    COMMIT = "commit"


FURTHEST_LAST = (Phase.FETCH, Phase.DECODE, Phase.FORWARD, Phase.UPSERT)
"""The phases within `process`, in the order in which an image goes through them."""


@dataclass(frozen=True)
class Spent:
    """A stretch of time of one phase, in seconds of `time.perf_counter`; `item` is the id of the item it was for."""

    phase: Phase
    began: float
    ended: float
    item: str | None = None


class InHand:
    """One batch. All times are seconds of `time.perf_counter`."""

    def __init__(self, records: Sequence[Received] = ()) -> None:
        self.records = records
        self.began = time.perf_counter()
        self.spent: list[Spent] = []
        """What the stage told."""
        self.stretches: list[Spent] = []
        """What the worker did, phase after phase."""
        self.phases: dict[Phase, float] = {}
        """Seconds by phase, once the phase is over."""
        self.waiting_for: str | None = None
        """The dependency that this batch waits for now."""
        self._moves = 0
        self._behind: Counter[Callable[[], int]] = Counter()

    def moved(self) -> None:
        """Something of this batch was finished: an item, a phase, an attempt."""
        self._moves += 1

    @property
    def moves(self) -> int:
        """A number that changes as long as this batch moves, or waits behind something that does."""
        return self._moves + sum(moves() for moves in self._behind)

    @contextmanager
    def behind(self, moves: Callable[[], int]) -> Iterator[None]:
        """Wait for something that serves others too, such as the model: while its number grows, this is no stall."""
        self._behind[moves] += 1
        try:
            yield
        finally:
            self._moves += 1
            self._behind[moves] -= 1
            if not self._behind[moves]:
                # What it counted stays counted, since `moves` must not fall back.
                self._moves += moves()
                del self._behind[moves]

    @contextmanager
    def spending(self, phase: Phase, item: str | None = None) -> Iterator[None]:
        """Book a stretch of time that ends here, also if it ends by an exception."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent.append(Spent(phase, began, time.perf_counter(), item))


def booked(spent: Iterable[Spent]) -> dict[Phase, float]:
    """Seconds by phase, each moment booked once: to the phase of the image that has come furthest.

    Many images of a batch are under way at once, so their times overlap. While any of them is in the model, the batch
    is in `forward`; it spends a moment in `decode` or `fetch` only if the model had none of its images. So the sums
    tell what the batch really waited for, and do not exceed the time that it took.
    """
    edges = [(one.began, FURTHEST_LAST.index(one.phase), 1) for one in spent]
    edges += [(one.ended, FURTHEST_LAST.index(one.phase), -1) for one in spent]
    edges.sort()
    open_now = [0] * len(FURTHEST_LAST)
    seconds: dict[Phase, float] = {}
    before = 0.0
    for at, rank, change in edges:
        furthest = max((rank for rank, count in enumerate(open_now) if count), default=None)
        if furthest is not None:
            phase = FURTHEST_LAST[furthest]
            seconds[phase] = seconds.get(phase, 0.0) + at - before
        open_now[rank] += change
        before = at
    return seconds


_IN_HAND: ContextVar[InHand | None] = ContextVar("batch_in_hand", default=None)


def in_hand() -> InHand:
    """The batch that this task works on; where there is none, as in a test of a stage alone, one that nobody sees."""
    return _IN_HAND.get() or InHand()


@contextmanager
def taken_in_hand(batch: InHand) -> Iterator[InHand]:
    """Make a batch the one that this task, and the tasks that it starts, work on."""
    token = _IN_HAND.set(batch)
    try:
        yield batch
    finally:
        _IN_HAND.reset(token)
