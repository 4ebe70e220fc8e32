"""What each panel asks of Prometheus, in the order in which images flow."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.load.monitoring import Prometheus
from benchmarks.load.record import Series


@dataclass(frozen=True)
class Question:
    """A query over the run, and the label that tells its series apart."""

    query: str
    label: str = ""
    name: str = ""
    """What a single series is called."""


PANELS: dict[str, tuple[Question, ...]] = {
    "uploads": (Question("rate(load_uploads_total[4s])", name="uploads"),),
    "lag": (Question("load_kafka_lag_records", label="topic"),),
    "throughput": (Question("sum by (stage) (rate(sightline_records_finished_total[4s]))", label="stage"),),
    "freshness": tuple(
        Question(f"histogram_quantile({q}, sum by (le) (rate(sightline_freshness_seconds_bucket[10s])))", name=name)
        for q, name in ((0.5, "p50"), (0.99, "p99"))
    ),
    "phases": (
        Question("sum by (stage, phase) (rate(sightline_phase_seconds_sum[4s]))", label="stage phase"),
        Question("rate(sightline_forward_seconds_sum[4s])", name="model forward"),
        Question("rate(sightline_forward_starved_seconds_total[4s])", name="model starved"),
        Question("sum(rate(sightline_look_seconds_sum[4s]))", name="looks"),
    ),
    "batches": (
        Question("rate(sightline_batch_records_sum[4s]) / rate(sightline_batch_records_count[4s]) > 0", label="stage"),
    ),
    "cpu": (Question("rate(load_process_cpu_seconds_total[4s])", label="name"),),
    "memory": (Question("load_process_resident_bytes", label="name"),),
    "failures": (
        Question("sum by (stage) (sightline_records_rejected_total)", label="stage", name="dead letters"),
        Question("sum by (stage) (sightline_retries_total)", label="stage", name="retries"),
        Question("sum(sightline_kafka_commit_failures_total)", name="failed commits"),
        Question("sum(sightline_kafka_fetch_failures_total)", name="failed fetches"),
        Question('sum(sightline_http_requests_total{status="5xx"})', name="answers 5xx"),
        Question("sum(1 - up)", name="processes not scraped"),
    ),
}


def ask(prometheus: Prometheus, start: float, end: float) -> dict[str, list[Series]]:
    """Every panel's series between two Unix times. What was never counted is a line at zero."""
    return {
        panel: [one for question in questions for one in _series(prometheus, question, start, end)]
        for panel, questions in PANELS.items()
    }


def _series(prometheus: Prometheus, question: Question, start: float, end: float) -> list[Series]:
    found = prometheus.range(question.query, start, end)
    if not found and question.name:
        return [Series(label=question.name, times=[0.0, round(end - start, 1)], values=[0.0, 0.0])]
    told = []
    for one in found:
        # A quantile of nothing is NaN.
        samples = [(float(time) - start, float(value)) for time, value in one["values"] if value != "NaN"]
        times, values = [round(time, 1) for time, _ in samples], [round(value, 4) for _, value in samples]
        told.append(Series(label=_label(question, one["metric"]), times=times, values=values))
    return told


def _label(question: Question, metric: Mapping[str, str]) -> str:
    told = " ".join(metric.get(label, "") for label in question.label.split()).strip()
    return " ".join(filter(None, [question.name, told]))
