"""The pieces of the load run: clients that keep to their rate, a comparison that misses nothing, panels of what is."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image
from prometheus_client import generate_latest

from benchmarks.load import report
from benchmarks.load.fleet import BUCKET, Fleet
from benchmarks.load.monitoring import Processes, RunMetrics
from benchmarks.load.panels import draw
from benchmarks.load.pictures import SIZES, draw_pictures
from benchmarks.load.questions import PANELS
from benchmarks.load.record import Measured, read_measured
from benchmarks.load.searching import verify
from benchmarks.load.uploading import s3_client, upload
from deploy.stack import S3Server
from deploy.stack.process import Process
from docs.metric_table import declared_metrics


@pytest.fixture(scope="module")
def measured() -> Measured:
    return read_measured()


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    store = S3Server(f"http://{host}:{port}", "some", "secret", "us-east-1", Process("moto", 0, tmp_path))
    client = s3_client(store)
    client.create_bucket(Bucket=BUCKET)
    yield store
    # The next server of this process has the same buckets.
    for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=one["Key"])
    client.delete_bucket(Bucket=BUCKET)
    server.stop()


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    paths = [tmp_path / f"{number}.jpg" for number in range(12)]
    for number, path in enumerate(paths):
        path.write_bytes(b"picture %d" % number)
    return {f"load/{path.name}": path for path in paths}


def metrics() -> RunMetrics:
    return RunMetrics(Processes())


def fleet(
    s3: S3Server, index: dict[str, str], *, rejected: tuple[str, ...] = (), unlike: tuple[str, ...] = ()
) -> Fleet:
    """A store, and an API that knows these keys and ETags."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/search":
            body = request.read()
            hits = [
                {"key": key, "score": 0.9 if key in unlike else 1.0}
                for key in index
                if b"picture " + Path(key).stem.encode() + b"\r\n" in body
            ]
            return httpx.Response(200, json={"results": hits})
        keys = index if request.url.params["status"] == "indexed" else dict.fromkeys(rejected, "")
        first = "cursor" not in request.url.params
        half = list(keys)[: len(keys) // 2] if first else list(keys)[len(keys) // 2 :]
        found = [{"key": key, "etag": keys[key]} for key in half]
        return httpx.Response(200, json={"images": found, "next_cursor": "more" if first else None})

    api = httpx.Client(base_url="http://search", transport=httpx.MockTransport(answer))
    return Fleet("", s3, Path(), {}, {}, api)


def etags(s3: S3Server) -> dict[str, str]:
    listed = s3_client(s3).list_objects_v2(Bucket=BUCKET)["Contents"]
    return {one["Key"]: one["ETag"].strip('"') for one in listed}


def test_clients_upload_everything_and_keep_to_their_rate(s3: S3Server, pictures: dict[str, Path]) -> None:
    counted = metrics()
    at_once = upload(s3, BUCKET, pictures, counted)
    began = time.time()
    at_a_rate = upload(s3, BUCKET, pictures, counted, rate=20.0)
    assert at_once.keys() == at_a_rate.keys() == etags(s3).keys() == pictures.keys()
    # However slow the machine is, none comes before its time.
    assert all(at_a_rate[key] >= began + number / 20.0 for number, key in enumerate(pictures))
    assert counted.registry.get_sample_value("load_uploads_total") == 24
    assert counted.registry.get_sample_value("load_upload_bytes_total") == 2 * sum(
        path.stat().st_size for path in pictures.values()
    )


def test_a_run_that_lost_nothing_has_no_problems(s3: S3Server, pictures: dict[str, Path]) -> None:
    upload(s3, BUCKET, pictures, metrics())
    verdict = verify(fleet(s3, etags(s3)), pictures, every=3)
    assert verdict.problems == []
    assert (verdict.indexed, verdict.searched) == (12, 4)


def test_what_is_lost_stale_unfound_or_rejected_is_named(s3: S3Server, pictures: dict[str, Path]) -> None:
    upload(s3, BUCKET, pictures, metrics())
    index = etags(s3)
    del index["load/1.jpg"]
    index["load/2.jpg"] = "another"
    index["load/never.jpg"] = "etag"
    verdict = verify(fleet(s3, index, rejected=("load/1.jpg",), unlike=("load/3.jpg",)), pictures, every=1)
    assert verdict.problems == [
        "1 in the bucket, and not indexed: load/1.jpg",
        "1 indexed, and not in the bucket: load/never.jpg",
        "1 indexed with another ETag: load/2.jpg",
        "2 not found by its own picture: load/1.jpg, load/3.jpg",
        "1 rejected: load/1.jpg",
    ]


def test_an_upload_that_the_store_does_not_have_is_named(s3: S3Server, pictures: dict[str, Path]) -> None:
    some = {key: path for key, path in pictures.items() if key != "load/7.jpg"}
    upload(s3, BUCKET, some, metrics())
    assert "1 uploaded, and not in the bucket: load/7.jpg" in verify(fleet(s3, etags(s3)), pictures, every=99).problems


def test_photographs_are_jpegs_of_a_usual_size_and_no_two_alike(tmp_path: Path) -> None:
    paths = draw_pictures(tmp_path, 4, seed=3)
    assert len({path.read_bytes() for path in paths}) == 4
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "JPEG"
            assert image.size in SIZES
        assert 150_000 < path.stat().st_size < 400_000
    assert draw_pictures(tmp_path / "again", 4, seed=3)[0].read_bytes() == paths[0].read_bytes()


def test_every_metric_that_a_panel_asks_for_exists() -> None:
    declared = {metric.name.removesuffix("_total") for metric in declared_metrics()}
    own = set(re.findall(r"^# TYPE (\w+?)(?:_total)? ", generate_latest(metrics().registry).decode(), re.MULTILINE))
    queries = [question.query for questions in PANELS.values() for question in questions]
    asked = {name for query in queries for name in re.findall(r"\b(?:sightline|load)_\w+", query)}
    assert asked
    for name in asked:
        bare = re.sub(r"_(total|bucket|sum|count)$", "", name)
        assert bare in declared | own, name


def test_every_panel_has_what_to_show_and_is_drawn(measured: Measured, tmp_path: Path) -> None:
    assert measured.panels.keys() == PANELS.keys()
    for name, series in measured.panels.items():
        assert series, name
        assert all(len(one.times) == len(one.values) for one in series)
    assert any(max(one.values) > 100 for one in measured.panels["lag"])
    path = tmp_path / "load.webp"
    draw(measured, path)
    with Image.open(path) as drawn:
        assert drawn.width > 1200
        assert len(drawn.convert("RGB").getcolors(1 << 24) or []) > 20


def test_what_a_process_uses_is_told_by_its_name() -> None:
    processes = Processes()
    processes.add("this one", os.getpid())
    told = RunMetrics(processes).registry
    assert (told.get_sample_value("load_process_cpu_seconds_total", {"name": "this one"}) or 0) > 0
    assert (told.get_sample_value("load_process_cpu_seconds_total", {"name": "others"}) or 0) > 0
    assert (told.get_sample_value("load_process_resident_bytes", {"name": "this one"}) or 0) > 1e7


def test_a_run_of_which_nothing_was_indexed_says_what_went_wrong(measured: Measured) -> None:
    nothing = {"uploaded": [], "indexed": [], "problems": ["every image indexed: not within 240 s"]}
    failed = measured.model_copy(update={"run": measured.run.model_copy(update=nothing)})
    said = report.summary(failed)
    assert "0 of 2,000 images indexed" in said
    assert "PROBLEM: every image indexed: not within 240 s" in said
