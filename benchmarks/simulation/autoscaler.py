"""KEDA's Kafka scaler with the autoscaler of Kubernetes behind it, as deploy/k8s sets them."""

import math
from collections import deque
from dataclasses import dataclass

import simpy

from benchmarks.simulation.consumers import Group, Steps
from benchmarks.simulation.processor import Processor

TOLERANCE = 0.1
"""A lag within a tenth of the target changes nothing."""


@dataclass(frozen=True, kw_only=True)
class ScalingTerms:
    """When pods come and go. Times in seconds."""

    lag_a_pod: int
    """lagThreshold: as many pods are wanted as the lag holds this number."""
    least: int = 1
    most: int
    poll: float = 30.0
    pod_start: float
    """From the decision to the first fetch: a node, the image, the model."""
    cooldown: float = 600.0
    """stabilizationWindowSeconds: the highest number wanted in this window stays."""
    halve_every: float = 300.0
    double_every: float = 60.0


class Autoscaler:
    """Looks at the lag, starts pods at most twofold a minute, and ends them slowly."""

    def __init__(self, env: simpy.Environment, group: Group, terms: ScalingTerms, cores: float) -> None:
        """`cores` is the processor that each new pod has to itself."""
        self._env = env
        self._group = group
        self._terms = terms
        self._cores = cores
        self._starting = 0
        self._wanted: deque[tuple[float, int]] = deque()
        self._raised = self._lowered = -math.inf
        self.most = len(group.pods)
        self.decisions = 0
        env.process(self._run())

    @property
    def replicas(self) -> int:
        """Pods that run or start."""
        return len(self._group.pods) + self._starting

    def _run(self) -> Steps:
        while True:
            yield self._env.timeout(self._terms.poll)
            self._look()

    def _look(self) -> None:
        terms, now, current = self._terms, self._env.now, self.replicas
        lag = self._group.topic.lag
        # More consumers than partitions would stand idle; KEDA does not go there either.
        most = min(terms.most, math.ceil(len(self._group.topic.partitions) / self._group.rates.lanes))
        wanted = min(most, max(terms.least, math.ceil(lag / terms.lag_a_pod)))
        if current and abs(lag / (terms.lag_a_pod * current) - 1) <= TOLERANCE:
            wanted = min(most, max(terms.least, current))
        self._wanted.append((now, wanted))
        while self._wanted[0][0] < now - terms.cooldown:
            self._wanted.popleft()
        if wanted > current:
            self._raise(min(wanted, 2 * max(1, current)))
        elif current > max(one for _, one in self._wanted):
            self._lower(max(max(one for _, one in self._wanted), math.ceil(current / 2)))

    def _raise(self, wanted: int) -> None:
        if self._env.now - self._raised < self._terms.double_every:
            return
        self._raised = self._env.now
        self.decisions += 1
        for _ in range(wanted - self.replicas):
            self._starting += 1
            self._env.process(self._start())
        self.most = max(self.most, self.replicas)

    def _start(self) -> Steps:
        yield self._env.timeout(self._terms.pod_start)
        self._starting -= 1
        self._group.join(Processor(self._env, self._cores))

    def _lower(self, wanted: int) -> None:
        if self._starting or self._env.now - self._lowered < self._terms.halve_every:
            return
        self._lowered = self._env.now
        self.decisions += 1
        for _ in range(len(self._group.pods) - wanted):
            self._group.leave()
