"""All the services in one process, without Kafka: notifications come by the webhook."""

import json
import secrets
from pathlib import Path

import pytest

from deploy.stack import S3Server
from imaging.samples import draw_samples
from tests.end_to_end.running import sightline, wait_for
from tests.end_to_end.test_kafka import s3_client

pytestmark = [pytest.mark.s3, pytest.mark.kafka]


def notification(bucket: str, key: str) -> bytes:
    """As MinIO posts it."""
    record = {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "eventName": "s3:ObjectCreated:Put",
        "eventTime": "2026-01-02T03:04:05.000Z",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "sequencer": "17"}},
    }
    return json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": f"{bucket}/{key}", "Records": [record]}).encode()


def test_a_posted_notification_is_searchable_and_survives_a_stop(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = f"posted-{secrets.token_hex(4)}"
    s3_server.make_bucket(bucket)
    pictures = [path.read_bytes() for path in draw_samples(tmp_path / "pictures", 3, seed=5, sizes=((160, 120),))]
    s3 = s3_client(s3_server)
    environment = s3_server.environment() | {"PORT": "0", "SIGHTLINE_INGEST__WEBHOOK__TOKEN": "a long random text"}
    services = ("run", "ingest", "embedder", "indexer", "search")
    with sightline(*services, data_dir=tmp_path / "data", environment=environment) as running:
        events = f"{running.url}/events"
        for number, picture in enumerate(pictures):
            s3.put_object(Bucket=bucket, Key=f"{number}.jpg", Body=picture)
            body = notification(bucket, f"{number}.jpg")
            assert running.client.post(events, content=body).status_code == 401
            headers = {"Authorization": "Bearer a long random text"}
            assert running.client.post(events, content=body, headers=headers).status_code == 200
        wait_for(lambda: len(running.images()) == 3, "three images")
        assert running.best(pictures[1]) == "1.jpg"
        assert running.stop() == 0
    with sightline(*services, data_dir=tmp_path / "data", environment=environment) as running:
        assert running.best(pictures[2]) == "2.jpg"
