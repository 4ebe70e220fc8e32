"""S3 servers over a folder, whose bucket notifications go onto Kafka: versitygw, or MinIO for its format."""

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from deploy.stack.cache import minio, versitygw
from deploy.stack.errors import StackError
from deploy.stack.process import Process, find, free_port, spawn, wait_until_listening

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import QueueConfigurationTypeDef

PREFERRED_PORT = 7070
ACCESS_KEY = "sightline"
SECRET_KEY = "sightline-development-only"
REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """A running S3 server."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str
    process: Process
    notification_target: str = ""
    """What a bucket must name to be notified of; empty where every bucket is notified of anyway."""

    def environment(self) -> dict[str, str]:
        """The variables that boto3 and Sightline read."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "SIGHTLINE_S3__ENDPOINT_URL": self.endpoint,
            "SIGHTLINE_S3__REGION": self.region,
            "SIGHTLINE_S3__ADDRESSING_STYLE": "path",
        }

    def stop(self) -> None:
        """Stop it; its objects stay in its folder."""
        self.process.stop()

    def make_bucket(self, name: str) -> None:
        """Make a bucket where it does not exist, with its notifications going to Kafka."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 10, "mode": "standard"}),
        )
        try:
            with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                client.create_bucket(Bucket=name)
            if self.notification_target:
                wanted: QueueConfigurationTypeDef = {
                    "QueueArn": self.notification_target,
                    "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
                }
                client.put_bucket_notification_configuration(
                    Bucket=name, NotificationConfiguration={"QueueConfigurations": [wanted]}
                )
        except (BotoCoreError, ClientError) as error:
            raise StackError(f"the bucket {name} could not be made on {self.endpoint}: {error}") from error
        finally:
            client.close()


def start_minio(folder: Path, kafka: str = "", *, topic: str = "bucket-notifications", port: int = 0) -> S3Server:
    """Start MinIO with its objects in `folder`, or find it running there; as `start_versitygw`."""
    folder = folder.resolve() / "minio"
    running = find("minio", folder)
    if running is None:
        program = minio()
        objects = folder / "objects"
        objects.mkdir(parents=True, exist_ok=True)
        notify = {
            "MINIO_NOTIFY_KAFKA_ENABLE_PRIMARY": "on" if kafka else "off",
            "MINIO_NOTIFY_KAFKA_BROKERS_PRIMARY": kafka,
            "MINIO_NOTIFY_KAFKA_TOPIC_PRIMARY": topic,
        }
        chosen = _choose_port(folder, port)
        command = [str(program), "server", "--quiet", "--address", f"127.0.0.1:{chosen}", str(objects)]
        credentials = {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
        running = spawn("minio", command, folder, MINIO_BROWSER="off", **credentials, **notify)
    port = _chosen_port(folder)
    wait_until_listening(running, port)
    target = "arn:minio:sqs::PRIMARY:kafka"
    return S3Server(f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY, REGION, running, target)


def start_versitygw(folder: Path, kafka: str = "", *, topic: str = "bucket-notifications", port: int = 0) -> S3Server:
    """Start versitygw with its objects in `folder`, or find it running there.

    `kafka` is a bootstrap address for notifications, none without; the topic must exist. The port is
    0 for any, or a preference. Raises `StackError` when Go is missing or the server does not come up.
    """
    folder = folder.resolve() / "s3"
    running = find("versitygw", folder)
    if running is None:
        program = versitygw()
        objects, metadata = folder / "objects", folder / "metadata"
        objects.mkdir(parents=True, exist_ok=True)
        chosen = _choose_port(folder, port)
        command = [str(program), "--port", f"127.0.0.1:{chosen}", "--region", REGION, "--quiet"]
        if kafka:
            command += ["--event-kafka-url", kafka, "--event-kafka-topic", topic]
        command += ["posix"]
        if not _has_attributes(objects):
            metadata.mkdir(exist_ok=True)
            command += ["--sidecar", str(metadata)]
        command += [str(objects)]
        running = spawn("versitygw", command, folder, ROOT_ACCESS_KEY_ID=ACCESS_KEY, ROOT_SECRET_ACCESS_KEY=SECRET_KEY)
    port = _chosen_port(folder)
    wait_until_listening(running, port)
    return S3Server(f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY, REGION, running)


def _choose_port(folder: Path, preferred: int) -> int:
    # The port of the last start comes first: clients may still hold the address.
    state = folder / "state.json"
    chosen = free_port(_chosen_port(folder) if state.exists() else preferred)
    state.write_text(json.dumps({"port": chosen}))
    return chosen


def _chosen_port(folder: Path) -> int:
    return int(json.loads((folder / "state.json").read_text())["port"])


def _has_attributes(folder: Path) -> bool:
    # Content type and ETag live in extended attributes, which tmpfs and some overlays refuse.
    if not hasattr(os, "setxattr"):
        return False
    with tempfile.NamedTemporaryFile(dir=folder) as probe:
        try:
            os.setxattr(probe.name, "user.probe", b"1")
        except OSError:
            return False
    return True
