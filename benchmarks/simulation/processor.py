"""Processor time that several pieces of work share, as an operating system shares it: at any moment in equal parts."""

import math
from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import simpy

K = TypeVar("K", bound=Hashable)


@dataclass(eq=False)
class _Job:
    left: float
    most: float
    done: simpy.Event
    kind: str
    rate: float = 0.0


class Processor:
    """`cores` core-seconds a second. A job gets its share of them, and never more than it can use at once.

    A graphics card is one core whose seconds are those of its forward passes.
    """

    def __init__(
        self,
        env: simpy.Environment,
        cores: float,
        limits: Mapping[str, float] | None = None,
        *,
        in_order: Collection[str] = (),
    ) -> None:
        """`limits` are the cores that all jobs of one kind can use together: a process has locks of its own.

        Jobs of a kind that is `in_order` do not share: the first has what it can use, and the next what that leaves.
        """
        self._env = env
        self._cores = cores
        self._limits = limits or {}
        self._in_order = in_order
        self._jobs: list[_Job] = []
        self._since = env.now
        self._plan: simpy.Event | None = None
        self.used = 0.0
        """Core-seconds that were worked."""

    def work(self, core_seconds: float, most: float, kind: str = "") -> simpy.Event:
        """An event that succeeds when so much has been worked, on at most `most` cores at once."""
        job = _Job(core_seconds, most, self._env.event(), kind)
        self._settle()
        self._jobs.append(job)
        self._share()
        return job.done

    def resize(self, cores: float) -> None:
        """Have more or less from now on, because others use the machine too. Never nothing."""
        self._settle()
        self._cores = max(1e-3, cores)
        self._share()

    def _settle(self) -> None:
        """Account for what was worked since the last change."""
        passed, self._since = self._env.now - self._since, self._env.now
        for job in self._jobs:
            job.left -= job.rate * passed
            self.used += job.rate * passed

    def _share(self) -> None:
        """Give equal shares, pass on what a job cannot use, and plan for the next job to end."""
        if len(self._jobs) == 1:
            [job] = self._jobs
            job.rate = min(job.most, self._limits.get(job.kind, math.inf), self._cores)
        else:
            self._divide()
        if self._jobs:
            soonest = min(max(0.0, job.left) / job.rate for job in self._jobs if job.rate)
            self._plan = self._env.timeout(soonest)
            self._plan.callbacks.append(self._end)

    def _divide(self) -> None:
        """Equal shares for each kind, and of these for each of its jobs: a kind is a process, however many threads."""
        kinds: dict[str, list[_Job]] = defaultdict(list)
        for job in self._jobs:
            kinds[job.kind].append(job)
        wanted = {
            kind: min(sum(job.most for job in jobs), self._limits.get(kind, math.inf)) for kind, jobs in kinds.items()
        }
        for kind, share in _shares(self._cores, wanted).items():
            most = {number: job.most for number, job in enumerate(kinds[kind])}
            divide = _in_turn if kind in self._in_order else _shares
            for number, rate in divide(share, most).items():
                kinds[kind][number].rate = rate

    def _end(self, plan: simpy.Event) -> None:
        if plan is not self._plan:
            return  # Something else changed the shares meanwhile, and made a plan of its own.
        self._settle()
        ended = [job for job in self._jobs if job.left <= 1e-9]
        self._jobs = [job for job in self._jobs if job.left > 1e-9]
        for job in ended:
            job.done.succeed()
        self._share()


def _shares(whole: float, most: Mapping[K, float]) -> dict[K, float]:
    """What each gets of the whole: equal parts, and what one cannot use goes to the others."""
    shares = {}
    for at, (name, wanted) in enumerate(sorted(most.items(), key=lambda one: one[1])):
        shares[name] = min(wanted, whole / (len(most) - at))
        whole -= shares[name]
    return shares


def _in_turn(whole: float, most: Mapping[K, float]) -> dict[K, float]:
    """What each gets of the whole: as much as it can use, as long as there is any."""
    shares = {}
    for name, wanted in most.items():
        shares[name] = min(wanted, whole)
        whole -= shares[name]
    return shares
