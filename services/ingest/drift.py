"""What a comparison of bucket and index finds: drift, and what differs without being any."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from prometheus_client import CollectorRegistry

from runtime.metrics import Metric, MetricKind

EXAMPLES = 5
"""So many keys of each finding are named."""

DRIFT = Metric(
    name="sightline_reconcile_drift_objects",
    kind=MetricKind.GAUGE,
    labels=("bucket", "drift"),
    sentence="Objects that the last reconcile found missing, stale or orphaned, without those that changed in the two "
    "minutes before it; lasting drift means lost events.",
)
LISTED = Metric(
    name="sightline_reconcile_listed_objects",
    kind=MetricKind.GAUGE,
    labels=("bucket",),
    sentence="Objects that the last reconcile listed and that the patterns want.",
)
LAST_RECONCILE = Metric(
    name="sightline_reconcile_last_success_timestamp_seconds",
    kind=MetricKind.GAUGE,
    labels=("bucket",),
    sentence="Unix time at which a reconcile last went through the whole bucket.",
)


class DriftKind(StrEnum):
    """How an object and its point may disagree."""

    MISSING = "missing"
    STALE = "stale"
    ORPHANED = "orphaned"


class Aside(StrEnum):
    """How an object and its point may differ although nothing was lost."""

    RECENT = "recent"
    """It changed so lately that its event may still be under way."""
    UNREADABLE = "unreadable"
    """It is listed, but the last look found that nobody can read it, and it has not changed since."""


@dataclass
class Report:
    """What one pass found. `began` is the moment that it speaks of, by our clock.

    `hinted` counts the looks that it asked for, or would have: those of all drift that the guard let through, of all
    that is recent, of what is retried, and of what could not be read an hour ago. `examples` holds a few keys of each
    finding, for a person to look at.
    """

    bucket: str
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    listed: int = 0
    unwanted: int = 0
    unchanged: int = 0
    missing: int = 0
    stale: int = 0
    orphaned: int = 0
    recent: int = 0
    unreadable: int = 0
    retried: int = 0
    hinted: int = 0
    refused: str | None = None
    seconds: float = 0.0
    examples: dict[DriftKind | Aside, list[str]] = field(
        default_factory=lambda: {finding: [] for kinds in (DriftKind, Aside) for finding in kinds}
    )

    @property
    def drift(self) -> int:
        """Objects whose point disagrees with the bucket."""
        return self.missing + self.stale + self.orphaned

    def count(self, finding: DriftKind | Aside, key: str) -> None:
        """Count one object that differs from its point."""
        setattr(self, finding.value, getattr(self, finding.value) + 1)
        if len(self.examples[finding]) < EXAMPLES:
            self.examples[finding].append(key)


class ReconcileMetrics:
    """The drift metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._drift = DRIFT.gauge(registry)
        self._listed = LISTED.gauge(registry)
        self._last = LAST_RECONCILE.gauge(registry)

    def record(self, report: Report) -> None:
        """Show what a finished pass found."""
        for kind in DriftKind:
            self._drift.labels(report.bucket, kind.value).set(getattr(report, kind.value))
        self._listed.labels(report.bucket).set(report.listed)
        self._last.labels(report.bucket).set(time.time())
