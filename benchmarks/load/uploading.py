"""Clients that upload: at a rate of their own choosing, or as fast as the store takes it."""

import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from benchmarks.load.monitoring import RunMetrics
from deploy.stack import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CLIENTS = 4


def s3_client(server: S3Server) -> "S3Client":
    """A client as users make one."""
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5, "mode": "standard"}),
    )


def upload(
    server: S3Server, bucket: str, pictures: Mapping[str, Path], metrics: RunMetrics, *, rate: float | None = None
) -> dict[str, float]:
    """Upload files by key with `CLIENTS` clients, `rate` a second or as fast as it goes; Unix times of the answers.

    Returns once all are acknowledged. Raises whatever boto3 raises after its retries.
    """
    waiting: queue.SimpleQueue[tuple[float, str] | None] = queue.SimpleQueue()
    began = time.time()
    for number, key in enumerate(pictures):
        waiting.put((began + number / rate if rate else began, key))
    for _ in range(CLIENTS):
        waiting.put(None)
    acknowledged: dict[str, float] = {}
    lock = threading.Lock()

    def client() -> None:
        s3 = s3_client(server)
        while (job := waiting.get()) is not None:
            due, key = job
            time.sleep(max(0.0, due - time.time()))
            data = pictures[key].read_bytes()
            s3.put_object(Bucket=bucket, Key=key, Body=data, ContentType="image/jpeg")
            with lock:
                acknowledged[key] = time.time()
            metrics.uploads.inc()
            metrics.bytes.inc(len(data))
        s3.close()

    with ThreadPoolExecutor(CLIENTS, thread_name_prefix="client") as pool:
        for done in [pool.submit(client) for _ in range(CLIENTS)]:
            done.result()
    return acknowledged
