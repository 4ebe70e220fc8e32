"""A metric as a declared object: name, kind, labels and one sentence for the operator.

Label values come from enums or from names fixed at start, never from data. docs/metrics.md is generated from
`Metric.declared()`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
COUNT_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class MetricKind(StrEnum):
    """The kinds of Prometheus metric in use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric as it is declared. `sentence` tells the operator what it means and what to do about it."""

    name: str
    kind: MetricKind
    sentence: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    _declared: ClassVar[dict[str, "Metric"]] = {}

    def __post_init__(self) -> None:
        self._declared[self.name] = self

    @classmethod
    def declared(cls) -> list["Metric"]:
        """Every metric declared by the modules imported so far, by name."""
        return sorted(cls._declared.values(), key=lambda metric: metric.name)

    def counter(self, registry: CollectorRegistry) -> prometheus.Counter:
        """This metric in a registry, as the counter that it is declared to be."""
        self._expect(MetricKind.COUNTER)
        return prometheus.Counter(self.name, self.sentence, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> prometheus.Gauge:
        """This metric in a registry, as the gauge that it is declared to be."""
        self._expect(MetricKind.GAUGE)
        return prometheus.Gauge(self.name, self.sentence, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> prometheus.Histogram:
        """This metric in a registry, as the histogram that it is declared to be."""
        self._expect(MetricKind.HISTOGRAM)
        return prometheus.Histogram(
            self.name, self.sentence, self.labels, registry=registry, buckets=self.buckets or SECONDS_BUCKETS
        )

    def _expect(self, kind: MetricKind) -> None:
        if self.kind is not kind:
            raise TypeError(f"metric {self.name} is declared as a {self.kind}, not as a {kind}")
