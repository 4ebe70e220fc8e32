"""The parts that both ways to run are made of, built from settings."""

import os
import time
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from cli.tracing import make_tracing
from runtime.batch import Publisher
from runtime.dead_letters import BudgetPolicy, DeadLetterBudget, DeadLetterSink
from runtime.log import Log
from runtime.metrics import BUILD_INFO, STARTED, MetricSet, StageMetrics
from runtime.probes import EVENT_LOOP_LAG, Probes
from runtime.release import RELEASE
from runtime.retry import Retry, RetryPolicy
from runtime.settings import Settings
from runtime.stage import Stage
from runtime.tracing import Tracing, Untraced
from runtime.worker import Decode, Worker


@dataclass
class Parts:
    """What every component of a process shares: settings, log, and one metrics registry."""

    settings: Settings
    log: Log
    metrics: MetricSet
    budget_stops: bool = True
    tracing: Tracing = field(default_factory=Untraced)
    """Entered by whoever owns the pipeline."""

    @classmethod
    def make(cls, settings: Settings, *, budget_stops: bool = True) -> "Parts":
        """Fresh parts with a registry of their own."""
        registry = CollectorRegistry()
        BUILD_INFO.gauge(registry).labels(RELEASE).set(1)
        STARTED.gauge(registry).set(time.time())
        tracing = make_tracing(settings, os.environ)
        return cls(settings, Log("sightline"), MetricSet.make(registry), budget_stops, tracing)

    def probes(self) -> Probes:
        """The probes of a process, by its settings; they measure the event loop's lag."""
        settings = self.settings.probes
        return Probes(
            stall_seconds=settings.stall_seconds,
            heartbeat_seconds=settings.heartbeat_seconds,
            loop_lag=EVENT_LOOP_LAG.histogram(self.registry).observe,
        )

    @property
    def registry(self) -> CollectorRegistry:
        """Where every metric of this process is registered."""
        return self.metrics.registry

    def worker(
        self,
        stage: Stage[Any],
        decode: Decode[Any],
        publisher: Publisher | None,
        dead_letters: DeadLetterSink,
        metrics: StageMetrics,
    ) -> Worker[Any]:
        """A worker around a stage, with the retry and the budget that the settings ask for."""
        letters = self.settings.dead_letters
        return Worker(
            stage,
            decode,
            publisher,
            dead_letters,
            metrics=metrics,
            retry=Retry(RetryPolicy(), stage=stage.name, metrics=metrics, log=self.log),
            budget=DeadLetterBudget(
                BudgetPolicy(share=letters.share, window=letters.window, least=letters.least, stop=self.budget_stops),
                self.log,
            ),
            log=self.log,
            tracing=self.tracing,
        )
