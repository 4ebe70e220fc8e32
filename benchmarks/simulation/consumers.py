"""Consumers of a group: batches one after the other, and rebalances in which all of them stand still."""

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import simpy

from benchmarks.simulation.processor import Processor
from benchmarks.simulation.topics import Cohort, Partition, Topic

Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, kw_only=True)
class StageRates:
    """What a stage takes. Seconds, and core-seconds of the processor of its pod."""

    name: str
    lanes: int
    """Consumers in a pod; each has one batch in hand."""
    batch_records: int
    waits: tuple[float, ...]
    """Before the batch of a consumer that had nothing to do, one of these: the poll, and what else is not worked.

    A lone image has in each stage the one of the same number, if all stages have as many: what slows one stage down
    slows the next one down a moment later.
    """
    batch_work: float
    image_work: float
    publish: float
    commit: float
    most_cores: float = 1.0
    """A batch can use so many cores at once."""


@dataclass(frozen=True, kw_only=True)
class GroupTimes:
    """How Kafka's group protocol takes its time."""

    heartbeat: float = 3.0
    """A member learns of a rebalance with its next heartbeat: session_timeout_ms / 10."""
    join: float = 0.5
    """From the last member's joining to the first fetch."""
    session: float = 30.0
    """Until a member that died is missed: session_timeout_ms."""


class Lane:
    """One consumer: takes a batch from its partitions, works, publishes, commits."""

    def __init__(self, group: "Group", pod: "Pod") -> None:
        self._group = group
        self._pod = pod
        self._env = group.env
        self.partitions: list[Partition] = []
        self.fetched: dict[Partition, int] = {}
        """Records that are here already and not yet taken, by partition, in the order of the fetches."""
        self.paused = True
        self.busy = False
        self.gone = False
        self._changed: simpy.Event = group.env.event()
        self.rested: simpy.Event = group.env.event()
        group.env.process(self._run())

    def wake(self) -> None:
        """Look again: something arrived, or changed."""
        if not self._changed.triggered:
            self._changed.succeed()

    def _run(self) -> Steps:
        rates = self._group.rates
        while not self.gone:
            idle = False
            while self.paused or not any(partition.waiting for partition in self.partitions):
                if self.gone:
                    return
                idle = True
                self._changed = self._env.event()
                yield self._changed
            if idle and rates.waits:
                first = min((each.waiting[0] for each in self.partitions if each.waiting), key=lambda one: one.born)
                chance = random.Random(first.born) if first.count == 1 else self._group.chance
                yield self._env.timeout(chance.choice(rates.waits))
                if self.paused:
                    continue
            batch = self._take(rates.batch_records)
            if batch:
                self.busy = True
                yield from self._handle(batch)
                self.busy = False
                if not self.rested.triggered:
                    self.rested.succeed()

    def _take(self, most: int) -> list[tuple[Partition, list[Cohort]]]:
        # aiokafka's way: a partition is fetched as soon as nothing of it is here, all that waits then, and of what
        # is here the earliest fetch is handed out to its end. So what is young may come before what is old.
        self._fetch()
        batch: dict[Partition, list[Cohort]] = {}
        while most > 0 and self.fetched:
            partition, here = next(iter(self.fetched.items()))
            count = min(most, here)
            batch[partition] = partition.take(count)
            most -= count
            self.fetched[partition] = here - count
            if here == count:
                del self.fetched[partition]
        self._fetch()
        return list(batch.items())

    def _fetch(self) -> None:
        for partition in self.partitions:
            if partition.waiting and partition not in self.fetched:
                self.fetched[partition] = sum(cohort.count for cohort in partition.waiting)

    def _handle(self, batch: Sequence[tuple[Partition, list[Cohort]]]) -> Steps:
        rates = self._group.rates
        images = sum(cohort.count for _, cohorts in batch for cohort in cohorts)
        work = rates.batch_work + images * rates.image_work
        yield self._pod.processor.work(work, rates.most_cores, rates.name)
        if self._lost(batch):
            return
        if rates.publish:
            yield self._env.timeout(rates.publish)
            if self._lost(batch):
                return
        self._group.finished(batch)
        yield self._env.timeout(rates.commit)
        # Killed between the two, Kafka would deliver again what is already published: that costs time, and changes
        # nothing in the index, so it is left out.
        for partition, cohorts in batch:
            partition.commit(sum(cohort.count for cohort in cohorts))

    def _lost(self, batch: Sequence[tuple[Partition, list[Cohort]]]) -> bool:
        if self.gone and self._pod.killed:
            for partition, cohorts in batch:
                partition.give_back(cohorts)
            return True
        return False


class Pod:
    """A process with its lanes, on a processor of its own or a shared one."""

    def __init__(self, group: "Group", processor: Processor) -> None:
        self.processor = processor
        self.killed = False
        self.lanes = [Lane(group, self) for _ in range(group.rates.lanes)]


class Group:
    """The consumers of one topic. `finished` is told of each batch when its results are published."""

    def __init__(
        self,
        env: simpy.Environment,
        topic: Topic,
        rates: StageRates,
        finished: Callable[[Sequence[tuple[Partition, list[Cohort]]]], None],
        *,
        times: GroupTimes | None = None,
        seed: int = 0,
        dealt_by_chance: bool = False,
    ) -> None:
        """Partitions are dealt evenly over the pods, or by chance, as Kafka's assignors deal them."""
        self.env = env
        self.topic = topic
        self.rates = rates
        self.finished = finished
        self._times = times or GroupTimes()
        self.chance = random.Random(seed)
        self._by_chance = dealt_by_chance
        self.pods: list[Pod] = []
        self._again = False
        self._rebalancing = False
        self.rebalances = 0
        self.paused_seconds = 0.0
        """Time in rebalances, from the first that paused to the new assignment."""

    def start(self, processors: Sequence[Processor]) -> None:
        """Begin with a pod on each of these, all joined already."""
        self.pods = [Pod(self, processor) for processor in processors]
        self._assign()

    def join(self, processor: Processor) -> None:
        """A further pod is ready."""
        self.pods.append(Pod(self, processor))
        self._rebalance()

    def leave(self) -> None:
        """The newest pod finishes its batches and says goodbye."""
        pod = self.pods.pop()
        self._retire(pod)
        self._rebalance()

    def kill(self) -> None:
        """The oldest pod dies: its partitions stand still until the session times out, and its batches come again."""
        pod = self.pods.pop(0)
        pod.killed = True
        self._retire(pod)

        def missed() -> Steps:
            yield self.env.timeout(self._times.session)
            self._rebalance()

        self.env.process(missed())

    def _retire(self, pod: Pod) -> None:
        for lane in pod.lanes:
            lane.gone = lane.paused = True
            for partition in lane.partitions:
                partition.wake = lambda: None
            lane.wake()

    def _rebalance(self) -> None:
        if self._rebalancing:
            self._again = True
        else:
            self._rebalancing = True
            self.env.process(self._pause_and_assign())

    def _pause_and_assign(self) -> Steps:
        began = self.env.now
        while True:
            self._again = False
            self.rebalances += 1
            yield self.env.all_of([self.env.process(self._rest(lane)) for lane in self._lanes()])
            yield self.env.timeout(self._times.join)
            if not self._again:
                break
        self._rebalancing = False
        self.paused_seconds += self.env.now - began
        self._assign()

    def _rest(self, lane: Lane) -> Steps:
        # With its own heartbeat each learns of it, and goes on until then.
        if not lane.paused:
            yield self.env.timeout(self.chance.random() * self._times.heartbeat)
            lane.paused = True
        while lane.busy:
            lane.rested = self.env.event()
            yield lane.rested

    def _lanes(self) -> list[Lane]:
        most = max((len(pod.lanes) for pod in self.pods), default=0)
        return [pod.lanes[at] for at in range(most) for pod in self.pods if at < len(pod.lanes)]

    def _assign(self) -> None:
        lanes = self._lanes()
        if self._by_chance:
            self.chance.shuffle(lanes)
        for lane in lanes:
            lane.partitions = []
            lane.fetched = {}
        for partition in self.topic.partitions:
            if lanes:
                owner = lanes[partition.number % len(lanes)]
                owner.partitions.append(partition)
                partition.wake = owner.wake
        for lane in lanes:
            lane.paused = False
            lane.wake()
