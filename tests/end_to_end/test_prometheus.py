"""A real Prometheus over real processes: every panel has data, every rule answers, every alert sees what it watches."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.stack import S3Server
from imaging.samples import draw_samples
from tests.end_to_end.observing import observed
from tests.end_to_end.running import wait_for
from tests.end_to_end.test_kafka import Fleet, s3_client, start
from tests.prometheus import Prometheus, program
from tests.repository.promql import ALERTS, RECORDED, expression, selectors
from tests.repository.test_dashboards import PATHS, queries
from tests.servers import start_or_skip

pytestmark = [pytest.mark.kafka, pytest.mark.s3, pytest.mark.timeout(300)]

INTERVAL = "15s"
"""In place of `$__rate_interval`: Grafana makes it four scrapes at least."""


@pytest.fixture(scope="module")
def prometheus(kafka: str, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    start_or_skip(lambda: program("prometheus"))
    folder = tmp_path_factory.mktemp("observed")
    pictures = draw_samples(folder / "pictures", 12, seed=5, sizes=((160, 120), (200, 150)))
    bucket = "observed"
    s3_server.make_bucket(bucket)
    impatient = {"SIGHTLINE_S3__READ_TIMEOUT": "1", "SIGHTLINE_S3__CONNECT_TIMEOUT": "1"}
    environment = s3_server.environment() | {
        "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "SIGHTLINE_KAFKA__GROUP_PREFIX": "observed-",
        "SIGHTLINE_INGEST__BUCKETS": bucket,
        "SIGHTLINE_KAFKA__PARTITIONS": "4",
    }
    with ExitStack() as processes:
        ingest, embedder, search = start(processes, folder / "fleet", environment | impatient)
        search.where = {"bucket": bucket}
        fleet = Fleet(ingest, embedder, search, s3_client(s3_server), bucket, environment, search.data_dir)
        with observed(fleet, s3_server, pictures, folder / "one", {}) as watching:
            yield watching


def test_every_process_is_scraped_and_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    wait_for(lambda: set(prometheus.targets().values()) == {"up"}, "every target answering", every=0.5)
    rules = [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {*RECORDED, *ALERTS}
    assert not {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_query_of_every_panel_has_data(path: Path, prometheus: Prometheus) -> None:
    empty = [
        f"{title}: {query}"
        for title, query, _ in queries(path)
        if title != "Alerts" and "unless" not in query and not prometheus.ask(filled_in(query))
    ]
    assert not empty, "\n".join(empty)


def test_every_recording_rule_answers_and_is_recorded(prometheus: Prometheus) -> None:
    empty = [name for name, query in RECORDED.items() if not (prometheus.ask(query) and prometheus.ask(name))]
    assert not empty, "\n".join(empty)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_can_see_what_it_watches(alert: str, prometheus: Prometheus) -> None:
    blind = [one.text for one in selectors(expression(ALERTS[alert]["expr"])) if not prometheus.ask(one.text)]
    assert not blind, "these select nothing, so the alert would be silent for ever"


def test_no_label_grows_with_what_people_upload_or_ask(prometheus: Prometheus) -> None:
    ours = {"match[]": '{__name__=~"sightline_.+"}'}
    for label in prometheus.get("/api/v1/labels", **ours):
        values = prometheus.get(f"/api/v1/label/{label}/values", **ours)
        assert not [value for value in values if "load/" in value or "while-away" in value or ".jpg" in value], label
        assert len(values) < 128 or label == "__name__", label


def filled_in(query: str) -> str:
    """A query as Grafana sends it with every choice left at "All"."""
    return query.replace("$__rate_interval", INTERVAL).replace("$route", ".*").replace("$bucket", ".*")
