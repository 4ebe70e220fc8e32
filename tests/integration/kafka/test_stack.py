"""The servers of `make stack-up`, as a developer and as the fixtures use them."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import boto3
import pytest
from aiokafka import AIOKafkaConsumer

from deploy.stack import S3Server
from deploy.stack.errors import StackError
from deploy.stack.kafka import new_cluster_id
from deploy.stack.process import find, free_port, spawn, wait_until_listening

pytestmark = [pytest.mark.kafka, pytest.mark.s3, pytest.mark.timeout(120)]


def _stack(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.stack", *command.split()],
        env={**os.environ, "SIGHTLINE_STACK_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_cluster_begins_with_what_the_tools_take_for_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(bytes=b"\xfb" + bytes(15)), uuid.UUID(int=0)])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(drawn))
    assert new_cluster_id() == "A" * 22


def test_up_prints_only_variables_and_a_second_up_finds_the_first(s3_server: S3Server, tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    try:
        first = _stack("up", folder)
        assert first.returncode == 0, first.stderr
        values = dict(line.split("=", 1) for line in first.stdout.splitlines())
        assert values.keys() >= {
            "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS",
            "AWS_ENDPOINT_URL_S3",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_REGION",
        }
        second = _stack("up", folder)
        assert second.stdout == first.stdout, second.stderr
        assert _stack("env", folder).stdout == first.stdout
        client = boto3.client(
            "s3",
            endpoint_url=values["AWS_ENDPOINT_URL_S3"],
            aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
            region_name=values["AWS_REGION"],
        )
        client.put_object(Bucket="images", Key="a.jpg", Body=b"x")
        assert _stack("down --keep", folder).returncode == 0
        assert find("kafka", folder / "kafka") is None
        assert _stack("up", folder).stdout == first.stdout
        assert client.get_object(Bucket="images", Key="a.jpg")["Body"].read() == b"x"
        client.close()
    finally:
        assert _stack("down", folder).returncode == 0
    assert not folder.exists()
    assert "make stack-up" in _stack("env", folder).stderr


async def test_a_put_and_a_delete_arrive_as_notifications(s3_server: S3Server, kafka: str) -> None:
    s3_server.make_bucket("noted")
    s3_server.make_bucket("noted")
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
        region_name=s3_server.region,
    )
    client.put_object(Bucket="noted", Key="a b/ö.jpg", Body=b"x")
    client.delete_object(Bucket="noted", Key="a b/ö.jpg")
    client.close()
    consumer = AIOKafkaConsumer("bucket-notifications", bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    names: set[str] = set()
    try:
        while len(names) < 2:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    body = json.loads(record.value)
                    names |= {
                        one["eventName"] for one in body.get("Records", []) if one["s3"]["bucket"]["name"] == "noted"
                    }
    finally:
        await consumer.stop()
    assert names == {"s3:ObjectCreated:Put", "s3:ObjectRemoved:Delete"}


def test_a_missing_tool_is_named_in_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.stack", "up"],
        env={"SIGHTLINE_STACK_DIR": str(tmp_path / "s"), "PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "`java` was not found" in done.stderr.splitlines()[-1]


def test_a_server_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    process = spawn("doomed", ["sh", "-c", "echo the reason; exit 1"], tmp_path)
    with pytest.raises(StackError, match="the reason"):
        wait_until_listening(process, free_port(), patience=10)


def test_a_pid_file_of_a_program_that_is_not_ours_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "kafka.pid").write_text(str(os.getpid()))
    assert find("kafka", tmp_path) is None
    (tmp_path / "kafka.pid").write_text("nonsense")
    assert find("kafka", tmp_path) is None
