"""versitygw: an S3 server over a folder, whose bucket notifications go onto Kafka."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from deploy.stack.cache import versitygw
from deploy.stack.errors import StackError
from deploy.stack.process import Process, find, free_port, spawn, wait_until_listening

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
        """Make a bucket where it does not exist. Notifications of every bucket go to the one topic."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 10, "mode": "standard"}),
        )
        try:
            client.create_bucket(Bucket=name)
        except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            pass
        except (BotoCoreError, ClientError) as error:
            raise StackError(f"the bucket {name} could not be made on {self.endpoint}: {error}") from error
        finally:
            client.close()


def start_versitygw(folder: Path, kafka: str = "", *, topic: str = "bucket-notifications", port: int = 0) -> S3Server:
    """Start versitygw with its objects in `folder`, or find it running there.

    `kafka` is a bootstrap address for notifications, none without; the topic must exist. The port is
    0 for any, or a preference. Raises `StackError` when Go is missing or the server does not come up.
    """
    folder = folder.resolve() / "s3"
    state = folder / "state.json"
    running = find("versitygw", folder)
    if running is None:
        program = versitygw()
        objects, metadata = folder / "objects", folder / "metadata"
        objects.mkdir(parents=True, exist_ok=True)
        recorded = json.loads(state.read_text())["port"] if state.exists() else port
        chosen = free_port(recorded)
        state.write_text(json.dumps({"port": chosen}))
        command = [str(program), "--port", f"127.0.0.1:{chosen}", "--region", REGION, "--quiet"]
        if kafka:
            command += ["--event-kafka-url", kafka, "--event-kafka-topic", topic]
        command += ["posix"]
        if not _has_attributes(objects):
            metadata.mkdir(exist_ok=True)
            command += ["--sidecar", str(metadata)]
        command += [str(objects)]
        running = spawn("versitygw", command, folder, ROOT_ACCESS_KEY_ID=ACCESS_KEY, ROOT_SECRET_ACCESS_KEY=SECRET_KEY)
    port = json.loads(state.read_text())["port"]
    wait_until_listening(running, port)
    return S3Server(f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY, REGION, running)


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
