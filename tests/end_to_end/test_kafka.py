"""Three processes on real Kafka, fed by the notifications of a real S3 server."""

import json
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import httpx
import numpy as np
import pytest
from botocore.config import Config

from deploy.stack import S3Server
from imaging.samples import draw_samples
from tests.end_to_end.running import Running, log_actions, run_command, sightline, wait_for

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = [pytest.mark.kafka, pytest.mark.s3, pytest.mark.timeout(300)]


@dataclass
class Fleet:
    ingest: Running
    embedder: Running
    search: Running
    s3: "S3Client"
    bucket: str
    environment: dict[str, str]
    data_dir: Path

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw_samples(tmp_path_factory.mktemp("pictures"), 40, seed=11, sizes=((160, 120), (200, 150)))


def s3_client(server: S3Server) -> "S3Client":
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
        config=Config(s3={"addressing_style": "path"}),
    )


@pytest.fixture
def fleet(kafka: str, s3_server: S3Server, tmp_path: Path) -> Iterator[Fleet]:
    unique = secrets.token_hex(4)
    bucket = f"images-{unique}"
    s3_server.make_bucket(bucket)
    environment = s3_server.environment() | {
        "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "SIGHTLINE_KAFKA__GROUP_PREFIX": f"{unique}-",
        "SIGHTLINE_INGEST__BUCKETS": bucket,
        "SIGHTLINE_KAFKA__PARTITIONS": "4",
        "SIGHTLINE_ORIGINALS__DELIVERY": "link",
    }
    with ExitStack() as running:
        ingest, embedder, search = start(running, tmp_path, environment)
        search.where = {"bucket": bucket}
        yield Fleet(ingest, embedder, search, s3_client(s3_server), bucket, environment, search.data_dir)


def start(running: ExitStack, folder: Path, environment: dict[str, str]) -> list[Running]:
    """Ingest, embedder, and indexer with search, each ready."""
    processes = [
        running.enter_context(
            sightline(
                "run", *services, data_dir=folder / services[0], wait=False, environment={"PORT": "0"} | environment
            )
        )
        for services in (["ingest"], ["embedder"], ["indexer", "search"])
    ]
    for process in processes:
        wait_for(partial(is_ready, process), "a service being ready")
    return processes


def is_ready(process: Running) -> bool:
    log = process.log.read_text()
    assert process.process.poll() is None, log[-3000:]
    return "ready at" in log


def test_a_bucket_is_followed_through_every_kind_of_change(fleet: Fleet, pictures: list[Path]) -> None:
    first, second = (path.read_bytes() for path in pictures[:2])
    search = fleet.search
    fleet.put("2026/new photo+1.jpg", first)
    wait_for(lambda: search.best(first) == "2026/new photo+1.jpg", "the new object being found")
    fleet.put("2026/new photo+1.jpg", second)
    wait_for(lambda: search.best(second) == "2026/new photo+1.jpg", "the overwritten object having its new vector")
    assert search.best(first) is None
    fleet.put("2026/new photo+1.jpg", b"<html>broken</html>")
    wait_for(lambda: search.best(second) is None, "the broken object leaving the results")
    fleet.put("2026/new photo+1.jpg", first)
    wait_for(lambda: search.best(first) == "2026/new photo+1.jpg", "the mended object being found")
    fleet.s3.delete_object(Bucket=fleet.bucket, Key="2026/new photo+1.jpg")
    wait_for(lambda: search.best(first) is None, "the deleted object leaving the results")

    listed = run_command("dead-letters", "list", "--json", "--data-dir", fleet.data_dir, environment=fleet.environment)
    letters = [json.loads(line) for line in listed.stdout.splitlines()]
    ours = [letter for letter in letters if fleet.bucket in (letter.get("object") or "")]
    assert [letter["reason"] for letter in ours] == ["not_an_image"], listed
    assert fleet.embedder.log.exists()


def test_one_object_is_explained_shown_and_looked_at_again(fleet: Fleet, pictures: list[Path]) -> None:
    search, good, mended = fleet.search, pictures[0].read_bytes(), pictures[1].read_bytes()
    fleet.put("good.jpg", good)
    fleet.put("broken.jpg", b"\xff\xd8\xff no picture")
    wait_for(lambda: "good.jpg" in search.images() and "broken.jpg" in search.images("rejected"), "both verdicts")
    shown = search.client.get(f"{search.url}/v1/images/{search.images()['good.jpg']['id']}/original")
    assert shown.is_redirect, "the store itself hands out the bytes"
    assert httpx.get(shown.headers["location"]).content == good

    said = run_command("explain", "broken.jpg", "--json", "--data-dir", fleet.data_dir, environment=fleet.environment)
    explained = json.loads(said.stdout)
    assert (explained["outcome"], explained["now"]["object"]["same"]) == ("rejected", True), said
    assert [step["step"] for step in explained["steps"]][:3] == ["uploaded", "noticed", "looked_at"]
    assert [letter["reason"] for letter in explained["now"]["dead_letters"]] == ["decode_failed"]

    # Without ingest nobody is told that the object is whole now: only what search sends can lead to a look.
    assert fleet.ingest.stop() == 0
    broken = search.images("rejected")["broken.jpg"]
    fleet.put("broken.jpg", mended)
    answer = search.client.post(f"{search.url}/v1/images/{broken['id']}/retry")
    assert answer.status_code == 202, answer.text
    wait_for(lambda: search.best(mended) == "broken.jpg", "the mended object being found")
    fleet.put("broken.jpg", b"\xff\xd8\xff no picture again")
    assert search.client.post(f"{search.url}/v1/images/{broken['id']}/retry").status_code == 202
    wait_for(lambda: "broken.jpg" in search.images("rejected"), "the second verdict")
    fleet.put("broken.jpg", mended)
    answer = search.client.post(f"{search.url}/v1/failures/retry", params={"bucket": fleet.bucket})
    assert (answer.status_code, answer.json()["sent"]) == (202, 1)
    wait_for(lambda: search.best(mended) == "broken.jpg", "the mended object being found again")


def test_every_service_drains_on_sigterm_and_exits_0(fleet: Fleet, pictures: list[Path]) -> None:
    for number, path in enumerate(pictures):
        fleet.put(f"{number}.jpg", path.read_bytes())
    wait_for(lambda: len(fleet.search.images()) > 0, "the first image")
    for process in (fleet.ingest, fleet.embedder, fleet.search):
        process.process.send_signal(signal.SIGTERM)
    for process in (fleet.ingest, fleet.embedder, fleet.search):
        assert process.process.wait(60) == 0, process.log.read_text()[-2000:]
        assert "drain_deadline" not in log_actions(process.log)
    with ExitStack() as running:
        again = start(running, fleet.data_dir.parent, fleet.environment)
        again[2].where = fleet.search.where
        wait_for(lambda: len(again[2].images()) == len(pictures), "every image, after the restart")


def test_reconcile_repairs_what_notifications_never_told(fleet: Fleet, pictures: list[Path]) -> None:
    for number, path in enumerate(pictures[:10]):
        fleet.put(f"kept/{number}.jpg", path.read_bytes())
    wait_for(lambda: len(fleet.search.images()) == 10, "the first images")
    # Without ingest, what happens now is told to nobody.
    assert fleet.ingest.stop() == 0
    fleet.put("kept/0.jpg", pictures[20].read_bytes())
    fleet.s3.delete_object(Bucket=fleet.bucket, Key="kept/1.jpg")
    fleet.put("added.jpg", pictures[21].read_bytes())
    source = f"s3://{fleet.bucket}"
    dry = run_command(
        "reconcile", source, "--dry-run", "--json", "--data-dir", fleet.data_dir, environment=fleet.environment
    )
    report = json.loads(dry.stdout)
    assert (report["recent"], report["missing"], report["stale"], report["orphaned"]) == (2, 0, 0, 1), dry
    done = run_command(
        "reconcile", source, "--json", "--data-dir", fleet.data_dir, timeout=200, environment=fleet.environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["remaining"] == 0
    assert fleet.search.best(pictures[20].read_bytes()) == "kept/0.jpg"
    assert sorted(fleet.search.images()) == ["added.jpg", "kept/0.jpg", *(f"kept/{n}.jpg" for n in range(2, 10))]


def test_the_same_pictures_give_the_same_points_embedded_and_on_kafka(
    fleet: Fleet, pictures: list[Path], tmp_path: Path
) -> None:
    for number, path in enumerate(pictures[:12]):
        fleet.put(f"{number}{path.suffix}", path.read_bytes())
    wait_for(lambda: len(fleet.search.images()) == 12, "the images on Kafka")
    s3_only = {name: value for name, value in fleet.environment.items() if "KAFKA" not in name and "INGEST" not in name}
    embedded = run_command("index", f"s3://{fleet.bucket}", "--data-dir", tmp_path / "embedded", environment=s3_only)
    assert embedded.returncode == 0, embedded.stderr
    with sightline(
        "up", f"s3://{fleet.bucket}", "--port", "0", data_dir=tmp_path / "embedded", environment=s3_only
    ) as alone:
        ours, theirs = alone.images(), fleet.search.images()
        assert ours.keys() == theirs.keys()
        for key in ours:
            same = ("id", "etag")
            assert {name: ours[key][name] for name in same} == {name: theirs[key][name] for name in same}
            differing = {"version", "indexed_at", "journey"}
            left, right = ours[key]["payload"], theirs[key]["payload"]
            assert {n: v for n, v in left.items() if n not in differing} == {
                n: v for n, v in right.items() if n not in differing
            }
            one = f"/v1/images/{ours[key]['id']}"
            vectors = [np.array(running.get(one, vector="true")["vector"]) for running in (alone, fleet.search)]
            assert np.allclose(vectors[0], vectors[1], atol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_store_that_is_away_for_a_minute_is_waited_for(
    fleet: Fleet, s3_server: S3Server, pictures: list[Path]
) -> None:
    fleet.put("before.jpg", pictures[0].read_bytes())
    wait_for(lambda: "before.jpg" in fleet.search.images(), "the first image")
    client = fleet.s3
    # The notification is sent by the store itself, so the store goes away between that and the look.
    fleet.embedder.process.send_signal(signal.SIGSTOP)
    client.put_object(Bucket=fleet.bucket, Key="during.jpg", Body=pictures[1].read_bytes())
    time.sleep(2)
    s3_server.process.pause()
    fleet.embedder.process.send_signal(signal.SIGCONT)
    try:
        wait_for(lambda: "dependency_unavailable" in log_actions(fleet.embedder.log), "the log saying so", patience=90)
        time.sleep(60)
    finally:
        s3_server.process.resume()
    wait_for(lambda: "during.jpg" in fleet.search.images(), "the image that waited", patience=90)
    listed = run_command("dead-letters", "list", "--json", "--data-dir", fleet.data_dir, environment=fleet.environment)
    assert fleet.bucket not in listed.stdout
