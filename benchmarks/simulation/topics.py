"""Topics of records that wait, are in hand, or are committed. Records of one moment are counted, not copied."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cohort:
    """`count` images that changed at the same moment; `born` is that moment, in seconds."""

    born: float
    count: int


@dataclass(eq=False)
class Partition:
    """What waits in order, and how much of what was written is not committed."""

    number: int
    waiting: deque[Cohort] = field(default_factory=deque)
    written: int = 0
    committed: int = 0
    wake: Callable[[], None] = lambda: None
    """Called when something arrives, for the consumer that owns the partition now."""

    @property
    def lag(self) -> int:
        """Written and not committed."""
        return self.written - self.committed

    def append(self, cohort: Cohort) -> None:
        """Write to the end."""
        self.waiting.append(cohort)
        self.written += cohort.count
        self.wake()

    def take(self, most: int) -> list[Cohort]:
        """The oldest records, `most` at most; the rest of a cohort stays."""
        taken: list[Cohort] = []
        while self.waiting and most > 0:
            first = self.waiting.popleft()
            if first.count > most:
                self.waiting.appendleft(Cohort(first.born, first.count - most))
                first = Cohort(first.born, most)
            taken.append(first)
            most -= first.count
        return taken

    def give_back(self, cohorts: Sequence[Cohort]) -> None:
        """What was in hand when its consumer died comes again, first."""
        self.waiting.extendleft(reversed(cohorts))
        self.wake()

    def commit(self, count: int) -> None:
        """So many more are done. Raises `ValueError` when that were more than was written."""
        if count > self.lag:
            raise ValueError(f"partition {self.number}: {count} committed, and only {self.lag} were not yet")
        self.committed += count


class Topic:
    """Partitions with one name."""

    def __init__(self, name: str, partitions: int) -> None:
        self.name = name
        self.partitions = [Partition(number) for number in range(partitions)]

    @property
    def lag(self) -> int:
        """Of all partitions."""
        return sum(partition.lag for partition in self.partitions)

    @property
    def committed(self) -> int:
        """Of all partitions."""
        return sum(partition.committed for partition in self.partitions)
