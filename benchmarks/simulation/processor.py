"""Processor time that several pieces of work share, as an operating system shares it: at any moment in equal parts."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import simpy


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

    def __init__(self, env: simpy.Environment, cores: float, limits: Mapping[str, float] | None = None) -> None:
        """`limits` are the cores that all jobs of one kind can use together: a process has locks of its own."""
        self._env = env
        self._cores = cores
        self._limits = limits or {}
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
            soonest = min(max(0.0, job.left) / job.rate for job in self._jobs)
            self._plan = self._env.timeout(soonest)
            self._plan.callbacks.append(self._end)

    def _divide(self) -> None:
        kinds = Counter(job.kind for job in self._jobs)
        most = {id(job): min(job.most, self._limits.get(job.kind, math.inf) / kinds[job.kind]) for job in self._jobs}
        left = self._cores
        for at, job in enumerate(sorted(self._jobs, key=lambda one: most[id(one)])):
            job.rate = min(most[id(job)], left / (len(self._jobs) - at))
            left -= job.rate

    def _end(self, plan: simpy.Event) -> None:
        if plan is not self._plan:
            return  # Something else changed the shares meanwhile, and made a plan of its own.
        self._settle()
        ended = [job for job in self._jobs if job.left <= 1e-9]
        self._jobs = [job for job in self._jobs if job.left > 1e-9]
        for job in ended:
            job.done.succeed()
        self._share()
