"""`python -m deploy.stack up|down|env|fetch`: start, stop, describe or only fetch the servers; KEY=value on stdout."""

import argparse
import asyncio
import os
import shlex
import shutil
import sys
from pathlib import Path

from deploy.stack import cache, kafka, s3
from deploy.stack.errors import StackError
from deploy.stack.process import find
from runtime.kafka.admin import check_broker, ensure_topics
from runtime.settings import KafkaSettings
from schemas.errors import SightlineError
from schemas.topics import TOPICS

BUCKET = "images"


def main(arguments: list[str]) -> int:
    """Run one command; 0 when it did what it says."""
    parser = argparse.ArgumentParser(prog="deploy.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start what does not run yet, and print the environment")
    up.add_argument("--minio", action="store_true", help="MinIO as the S3 server; building it takes minutes, once")
    commands.add_parser("env", help="print the environment of what runs")
    commands.add_parser("fetch", help="fetch and build what the servers need, where their tools exist")
    down = commands.add_parser("down", help="stop the servers and remove what they stored")
    down.add_argument("--keep", action="store_true", help="keep what they stored for the next `up`")
    chosen = parser.parse_args(arguments)
    folder = Path(os.environ.get("SIGHTLINE_STACK_DIR") or ".stack").resolve()
    try:
        if chosen.command == "fetch":
            _fetch()
        elif chosen.command == "down":
            _down(folder, keep=chosen.keep)
        else:
            _print(_up(folder, with_minio=chosen.minio) if chosen.command == "up" else _found(folder))
    except (StackError, SightlineError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _fetch() -> None:
    """Have everything at hand before a test's clock runs. What cannot be had is said, and left to the tests to skip."""
    schemas = (cache.custom_resource_schemas, cache.strimzi_schemas)
    for get in (cache.java, cache.kafka_jars, cache.versitygw, cache.kustomize, *schemas):
        try:
            get()
        except StackError as error:
            _say(str(error))


def _up(folder: Path, *, with_minio: bool) -> dict[str, str]:
    _say(f"Kafka: starting, or finding it in {folder} ...")
    broker = kafka.start_kafka(folder, port=kafka.PREFERRED_PORT)
    asyncio.run(_prepare(KafkaSettings(bootstrap_servers=broker.address)))
    _say(f"Kafka: {broker.address}; log {broker.process.log}")
    start = s3.start_minio if with_minio else s3.start_versitygw
    store = start(folder, broker.address, port=s3.PREFERRED_PORT)
    store.make_bucket(BUCKET)
    _say(f"S3: {store.endpoint}, bucket {BUCKET}, notifications onto Kafka; log {store.process.log}")
    return _environment(broker, store)


async def _prepare(settings: KafkaSettings) -> None:
    # The store's own producer makes no topics.
    await check_broker(settings, timeout=30.0)
    await ensure_topics(settings, TOPICS)


def _found(folder: Path) -> dict[str, str]:
    stores = {"versitygw": ("s3", s3.start_versitygw), "minio": ("minio", s3.start_minio)}
    for name, (place, start) in stores.items():
        if find("kafka", folder / "kafka") is not None and find(name, folder / place) is not None:
            return _environment(kafka.start_kafka(folder), start(folder))
    raise StackError(f"Nothing runs in {folder}; start it with `make stack-up`")


def _down(folder: Path, *, keep: bool) -> None:
    places = {"versitygw": folder / "s3", "minio": folder / "minio", "kafka": folder / "kafka"}
    for name, place in places.items():
        process = find(name, place)
        if process is not None:
            _say(f"{name}: stopping {process.pid}")
            process.stop()
    if not keep:
        for place in places.values():
            shutil.rmtree(place, ignore_errors=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _environment(broker: kafka.KafkaServer, store: s3.S3Server) -> dict[str, str]:
    return {"SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS": broker.address, **store.environment()}


def _print(environment: dict[str, str]) -> None:
    for name, value in environment.items():
        print(f"{name}={shlex.quote(value)}")


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
