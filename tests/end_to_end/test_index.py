"""One pass: `sightline index` and `sightline reconcile` on a folder, embedded."""

import json
import os
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imaging.samples import draw_samples
from tests.end_to_end.running import run_command


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    draw_samples(folder, 6, seed=9, sizes=((160, 120),))
    before = time.time() - 3600
    for path in folder.iterdir():
        os.utime(path, (before, before))
    return folder


def test_an_emptied_or_unmounted_folder_needs_a_word(photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run_command("index", photos, "--data-dir", data).returncode == 0
    photos.rename(tmp_path / "away")
    photos.mkdir()
    refused = run_command("index", photos, "--data-dir", data)
    assert refused.returncode == 1
    assert "--allow-mass-delete" in refused.stdout
    assert "6 indexed" in refused.stdout
    told = run_command("index", photos, "--allow-mass-delete", "--data-dir", data)
    assert told.returncode == 0
    assert "6 gone" in told.stdout


def test_a_dry_run_leaves_nothing_behind(photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    dry = run_command("reconcile", photos, "--dry-run", "--json", "--data-dir", data)
    assert json.loads(dry.stdout)["missing"] == 6, dry
    assert not (data / "folders.json").exists()
    assert not list(data.rglob("collection.json"))


def test_reconcile_compares_twice_and_tells_the_counts_to_prometheus(photos: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "sightline.prom"
    done = run_command("reconcile", photos, "--metrics-file", metrics, "--data-dir", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "a second comparison found no difference" in done.stdout
    assert 'sightline_reconcile_drift_objects{bucket="photos",drift="missing"} 6.0' in metrics.read_text()
    assert "images" in done.stderr, "a progress bar is shown"


def test_reconcile_pushes_what_it_found_to_a_gateway_in_a_group_of_its_source(photos: Path, tmp_path: Path) -> None:
    pushed: list[tuple[str, str, str]] = []

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            pushed.append((self.command, self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as gateway:
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{gateway.server_port}"
        done = run_command("reconcile", photos, "--pushgateway", url, "--data-dir", tmp_path / "data")
        gateway.shutdown()
    assert done.returncode == 0, done.stderr
    ((method, path, body),) = pushed
    assert (method, path) == ("PUT", "/metrics/job/sightline-reconcile/bucket/photos")
    assert 'sightline_reconcile_drift_objects{bucket="photos",drift="missing"} 6.0' in body
    assert 'sightline_reconcile_last_success_timestamp_seconds{bucket="photos"}' in body
    series = [line for line in body.splitlines() if not line.startswith("#")]
    assert all(line.startswith("sightline_reconcile_") for line in series), "a gateway shows a dead process for ever"
    # Nobody listens there any more.
    alone = run_command("reconcile", photos, "--pushgateway", url, "--data-dir", tmp_path / "data")
    assert alone.returncode == 0, alone.stderr
    assert "push_failed" in alone.stderr
    assert "SIGHTLINE_RECONCILE__PUSHGATEWAY" in alone.stderr


def test_a_pass_whose_vectors_are_not_the_index_s_writes_nothing(photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = run_command("index", photos, "--data-dir", data)
    assert first.returncode == 0, first.stderr
    assert "images/s without decoding" in first.stderr, "what the first forward pass took is shown"
    file = min(data.rglob("collection.json"))  # that of the first shard holds for all
    collection = json.loads(file.read_text())
    vectors = collection["canary"]["vectors"]
    vectors["photo"] = vectors["drawing"]
    collection["canary"]["matched_with"]["PIL"] = "1.1.7"
    file.write_text(json.dumps(collection))
    shutil.copyfile(next(photos.glob("*.jpg")), photos / "more.jpg")
    for command in ("index", "reconcile"):
        refused = run_command(command, photos, "--data-dir", data)
        assert refused.returncode == 2, refused
        assert "sightline: hashing no longer makes the vectors that the index in" in refused.stderr
        assert "PIL 1.1.7" in refused.stderr
    counted = run_command("status", "--data-dir", data)
    assert "6 indexed" in counted.stdout


def test_an_interrupted_pass_is_taken_up_where_it_ended(photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run_command("index", photos, "--data-dir", data).returncode == 0
    for number, path in enumerate(sorted(photos.iterdir())[:2]):
        shutil.copyfile(path, photos / f"more-{number}{path.suffix}")
    again = run_command("reconcile", photos, "--json", "--data-dir", data)
    report = json.loads(again.stdout)
    assert (report["unchanged"], report["recent"], report["missing"], report["remaining"]) == (6, 2, 0, 0)
    assert report["counts"]["indexed"] == 8


def test_the_guard_counts_and_exits_with_1(photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run_command("index", photos, "--data-dir", data).returncode == 0
    for path in sorted(photos.iterdir())[:3]:
        path.unlink()
    refused = run_command("reconcile", photos, "--max-gone", "2", "--json", "--data-dir", data)
    assert refused.returncode == 1
    report = json.loads(refused.stdout)
    assert report["orphaned"] == 3
    assert report["refused"]
    assert report["counts"]["indexed"] == 6


def test_names_that_look_like_markup_are_shown_as_they_are(photos: Path, tmp_path: Path) -> None:
    odd = photos / "a[" / "b][red]c.jpg"
    odd.parent.mkdir()
    next(photos.glob("*.jpg")).rename(odd)
    (photos / "a[" / "bad].jpg").write_bytes(b"<html>")
    data = tmp_path / "data"
    assert run_command("index", photos, "--data-dir", data).returncode == 0
    found = run_command("search", "--image", odd, "--data-dir", data)
    assert "a[/b][red]c.jpg" in found.stdout, found
    assert (
        "a[/bad].jpg" in run_command("dead-letters", "list", "--data-dir", data, environment={"COLUMNS": "300"}).stdout
    )


def test_status_of_an_index_that_nobody_serves(photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run_command("index", photos, "--data-dir", data).returncode == 0
    shown = run_command("status", "--data-dir", data)
    assert "nothing runs" in shown.stdout
    assert "hashing: 6 indexed, 0 rejected, 0 gone" in shown.stdout


def test_a_file_that_is_never_finished_is_named_and_does_not_hold_up_the_pass(photos: Path, tmp_path: Path) -> None:
    growing, stop = photos / "growing.jpg", threading.Event()

    def grow() -> None:
        while not stop.wait(0.1):
            with growing.open("ab") as file:
                file.write(b"more")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        done = run_command("index", photos, "--data-dir", tmp_path / "data")
    finally:
        stop.set()
        writer.join()
    assert done.returncode == 0, done
    assert "6 indexed" in done.stdout
    assert "growing.jpg" in done.stderr
