"""Topics and groups one behind the other, what is fed into them, and what comes out."""

import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import simpy

from benchmarks.simulation.consumers import Group, GroupTimes, StageRates, Steps
from benchmarks.simulation.processor import Processor
from benchmarks.simulation.topics import Cohort, Partition, Topic


@dataclass
class Results:
    """What a simulation tells: images as (born, done, count), and the lag of each topic at each look."""

    done: list[tuple[float, float, int]] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    lags: dict[str, list[int]] = field(default_factory=dict)
    pods: list[int] = field(default_factory=list)

    @property
    def images(self) -> int:
        """That reached the index."""
        return sum(count for _, _, count in self.done)

    @property
    def last(self) -> float:
        """When the last one did; 0 if none did."""
        return max((done for _, done, _ in self.done), default=0.0)

    def freshness(self, share: float, born_in: tuple[float, float] = (0.0, float("inf"))) -> float:
        """The seconds within which this share of the images (born in this span) were indexed."""
        ages = sorted((done - born, count) for born, done, count in self.done if born_in[0] <= born < born_in[1])
        if not ages:
            return 0.0
        below = list(accumulate(count for _, count in ages))
        return ages[min(len(ages) - 1, bisect_left(below, share * below[-1]))][0]

    def late(self, seconds: float) -> float:
        """The share of images that took longer than this."""
        return sum(count for born, done, count in self.done if done - born > seconds) / max(1, self.images)


class Pipeline:
    """Stages that pass images on, the last of them to the index."""

    def __init__(
        self,
        stages: Sequence[StageRates],
        topics: Sequence[tuple[str, int]],
        *,
        times: GroupTimes | None = None,
        seed: int = 0,
        dealt_by_chance: bool = False,
    ) -> None:
        """`topics` are the names and partitions that the stages read, in order. The same seed gives the same run."""
        self.env = simpy.Environment()
        self._random = random.Random(seed)
        self.topics = [Topic(name, partitions) for name, partitions in topics]
        self.results = Results(lags={topic.name: [] for topic in self.topics})
        following: list[Topic | None] = [*self.topics[1:], None]
        self.groups = [
            Group(
                self.env,
                topic,
                rates,
                self._passing_on(after),
                times=times,
                seed=seed * 31 + number,
                dealt_by_chance=dealt_by_chance,
            )
            for number, (topic, rates, after) in enumerate(zip(self.topics, stages, following, strict=True))
        ]

    def start(self, processors: Sequence[Sequence[Processor]]) -> None:
        """Give each stage its first pods, one on each processor."""
        for group, own in zip(self.groups, processors, strict=True):
            group.start(own)

    def arrive(self, images: Iterable[tuple[float, int]]) -> None:
        """Have so many images appear at these times, which rise; keys spread them over the first topic's partitions."""
        self.env.process(self._arrive(images))

    def watch(self, every: float, pods_of: Group | None = None) -> None:
        """Note the lag of all topics, and the pods of a group, every so many seconds."""
        self.env.process(self._watch(every, pods_of))

    def run(self, until: float | None = None, *, when: Callable[[], bool] | None = None, step: float = 1.0) -> Results:
        """Simulate until a time, or until something holds, looked at every `step` seconds."""
        if until is not None:
            self.env.run(until)
        while when is not None and not when():
            self.env.run(self.env.now + step)
        return self.results

    def _arrive(self, images: Iterable[tuple[float, int]]) -> Steps:
        first = self.topics[0].partitions
        for at, count in images:
            yield self.env.timeout(max(0.0, at - self.env.now))
            if count == 1:
                self._random.choice(first).append(Cohort(at, 1))
                continue
            for partition, part in zip(first, _spread(self._random, count, len(first)), strict=True):
                if part:
                    partition.append(Cohort(at, part))

    def _passing_on(self, after: Topic | None) -> Callable[[Sequence[tuple[Partition, list[Cohort]]]], None]:
        def to_the_index(batch: Sequence[tuple[Partition, list[Cohort]]]) -> None:
            self.results.done += [(one.born, self.env.now, one.count) for _, cohorts in batch for one in cohorts]

        def to_the_next(batch: Sequence[tuple[Partition, list[Cohort]]]) -> None:
            assert after is not None
            for partition, cohorts in batch:
                for cohort in cohorts:
                    # A lone image has a key of its own; many of one moment keep to the partition that they came from.
                    number = self._random.randrange(len(after.partitions)) if cohort.count == 1 else partition.number
                    after.partitions[number % len(after.partitions)].append(cohort)

        return to_the_index if after is None else to_the_next

    def _watch(self, every: float, pods_of: Group | None) -> Steps:
        while True:
            self.results.looks.append(self.env.now)
            for topic in self.topics:
                self.results.lags[topic.name].append(topic.lag)
            if pods_of is not None:
                self.results.pods.append(len(pods_of.pods))
            yield self.env.timeout(every)


def _spread(chance: random.Random, count: int, parts: int) -> list[int]:
    # Keys are hashed: each part's number varies like the square root of its mean.
    mean = count / parts
    drawn = [max(0.0, chance.gauss(mean, mean**0.5)) for _ in range(parts)]
    bounds = [round(total / max(1e-9, sum(drawn)) * count) for total in accumulate(drawn)]
    bounds[-1] = count
    return [after - before for before, after in zip([0, *bounds], bounds, strict=False)]
