"""Whatever is set wrong, the process ends at once with a sentence that says what to change."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.running import run_command, sightline


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refusal(*arguments: str | Path, **environment: str) -> str:
    done = run_command(*arguments, environment=environment)
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_busy_port_is_named(photos: Path, tmp_path: Path, busy_port: int) -> None:
    said = refusal("up", photos, "--port", str(busy_port), "--data-dir", tmp_path / "data")
    assert str(busy_port) in said
    assert "--port" in said
    said = refusal("up", photos, "--data-dir", tmp_path / "data", PORT=str(busy_port))
    assert str(busy_port) in said


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refusal("up", tmp_path / "nowhere", "--port", "0", "--data-dir", tmp_path / "d")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.touch()
    assert "folder" in refusal("up", file, "--port", "0", "--data-dir", tmp_path / "data")


def test_an_unknown_model_is_named(photos: Path, tmp_path: Path) -> None:
    said = refusal("up", photos, "--model", "hashin", "--port", "0", "--data-dir", tmp_path / "data")
    assert "hashin" in said
    assert "hashing" in said, "the nearest name is offered"


def test_a_locked_index_is_named(photos: Path, tmp_path: Path) -> None:
    with sightline("up", photos, "--port", "0", data_dir=tmp_path / "data") as running:
        (running.data_dir / "address.json").unlink()  # so that only the lock tells
        said = refusal("up", photos, "--port", "0", "--data-dir", tmp_path / "data")
        assert str(tmp_path / "data") in said


def test_an_unreachable_broker_is_named_by_what_runs_once(tmp_path: Path) -> None:
    said = refusal("reconcile", "s3://images", "--data-dir", tmp_path, SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert "127.0.0.1:1" in said
    assert "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS" in said


def test_run_without_kafka_says_what_to_set(tmp_path: Path) -> None:
    assert "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS" in refusal("run", "embedder", "--data-dir", tmp_path)


def test_an_unknown_service_is_named(tmp_path: Path) -> None:
    said = refusal("run", "embeder", "--data-dir", tmp_path, SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert "embeder" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS", "kafka"),
        ("SIGHTLINE_ENCODER__BATCH_SIZE", "-1"),
        ("SIGHTLINE_NO_SUCH_SETTING", "1"),
        ("PORT", "http"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_value_is_named(photos: Path, tmp_path: Path, name: str, value: str) -> None:
    said = refusal("up", photos, "--data-dir", tmp_path / "data", **{name: value})
    assert name.removeprefix("SIGHTLINE_") in said


def test_a_bucket_without_credentials_is_named(tmp_path: Path) -> None:
    said = refusal(
        "up",
        "s3://some-bucket",
        "--port",
        "0",
        "--data-dir",
        tmp_path,
        AWS_EC2_METADATA_DISABLED="true",
        HOME=str(tmp_path),
    )
    assert "credentials" in said.lower()


def test_an_unknown_scheme_is_named(tmp_path: Path) -> None:
    assert "gs://" in refusal("up", "gs://bucket", "--port", "0", "--data-dir", tmp_path)


def test_two_folders_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place / "photos").mkdir(parents=True)
    assert run_command("index", tmp_path / "a" / "photos", "--data-dir", tmp_path / "data").returncode == 0
    said = refusal("index", tmp_path / "b" / "photos", "--data-dir", tmp_path / "data")
    assert str(tmp_path / "a" / "photos") in said


def test_a_data_folder_inside_the_folder_is_refused(photos: Path) -> None:
    assert "--data-dir" in refusal("up", photos, "--port", "0", "--data-dir", photos / "data")


def test_an_option_that_cannot_work_is_named(photos: Path, tmp_path: Path) -> None:
    assert "--interval" in refusal("up", photos, "--interval", "-1", "--data-dir", tmp_path / "data")


def test_a_search_without_a_question_is_told_what_to_say(tmp_path: Path) -> None:
    assert "--image" in refusal("search", "--data-dir", tmp_path)


def test_config_shows_what_is_in_force_and_hides_secrets(tmp_path: Path) -> None:
    done = run_command(
        "config", "--data-dir", tmp_path, environment={"SIGHTLINE_QDRANT__API_KEY": "hunter2", "PORT": "9000"}
    )
    assert done.returncode == 0, done.stderr
    assert "SIGHTLINE_PORT=9000" in done.stdout
    assert "hunter2" not in done.stdout
