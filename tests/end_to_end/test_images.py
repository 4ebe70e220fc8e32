"""The images as the manifests run them: with those libraries, settings, topics, users and rights, and no others."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from deploy.stack import S3Server
from deploy.stack.errors import MissingTool
from deploy.stack.process import free_port
from imaging.samples import draw_samples
from runtime.kafka.admin import BrokerAway, check_broker
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError
from tests.end_to_end.running import run_command, wait_for
from tests.end_to_end.secured_kafka import PASSWORD, SecuredKafka
from tests.repository.built import Manifest, built, container, of_kind, variables
from tests.repository.dockerfile import in_image
from tests.repository.files import ROOT

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@dataclass
class Pod:
    """A process that runs as a container of the manifests does."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def ask(self, path: str) -> int:
        try:
            return httpx.get(f"{self.url}{path}", timeout=5).status_code
        except httpx.TransportError:
            return 0

    def metric(self, name: str, **labels: str) -> float:
        found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", httpx.get(f"{self.url}/metrics").text, re.MULTILINE)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(value) for given, value in found if all(one in given for one in wanted))

    def is_ready(self, probe: Manifest) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return self.ask(probe["httpGet"]["path"]) == 200


@contextmanager
def running(target: str, arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[Pod]:
    """The image of a target. Its environment is the one that is given, and a path."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", in_image(target), *arguments],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(log.parent)} | environment,
            stderr=stream,
            stdout=stream,
        )
        pod = Pod(process, f"http://127.0.0.1:{environment['SIGHTLINE_PORT']}", log)
        try:
            yield pod
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture(scope="module")
def users() -> list[Manifest]:
    return of_kind(built("base"), "KafkaUser")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, users: list[Manifest]) -> Iterator[SecuredKafka]:
    """Kafka with the topics and users of the manifests."""
    try:
        server = SecuredKafka(tmp_path_factory.mktemp("kafka"), [user["metadata"]["name"] for user in users])
    except MissingTool as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))

    async def prepare() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=server.inside)
        await admin.start()
        topics = [
            NewTopic(
                one["metadata"]["name"],
                num_partitions=2,
                replication_factor=1,
                topic_configs={
                    name: str(value) for name, value in one["spec"]["config"].items() if name != "min.insync.replicas"
                },
            )
            for one in of_kind(built("base"), "KafkaTopic")
        ]
        answer = await admin.create_topics(topics)
        assert {code for _, code, *_ in answer.topic_errors} == {0}, answer
        await admin.close()
        await server.allow(users)

    try:
        asyncio.run(prepare())
        yield server
    finally:
        server.process.stop(patience=0)


def environment_of(service: str, broker: SecuredKafka, s3: S3Server, folder: Path) -> dict[str, str]:
    """What the manifests give a container, with the addresses of this machine, and the secrets."""
    values = variables(built("base"), service)
    assert values["SIGHTLINE_KAFKA__SASL_USERNAME"] == f"sightline-{service}"
    del values["SIGHTLINE_QDRANT__URL"], values["SIGHTLINE_KAFKA__SSL_CA_FILE"]
    if "SIGHTLINE_ACCESS__KEYS_FILE" in values:
        keys = {"SIGHTLINE_ACCESS__KEYS_FILE": str(folder / "api-keys.json")}
        made = run_command("keys", "new", "--name", "page", "--scope", "search", environment=keys)
        assert made.returncode == 0, made.stderr
        values |= keys
    values.pop("HF_HOME", None)
    return values | {
        "SIGHTLINE_PORT": str(free_port()),
        "SIGHTLINE_DATA_DIR": str(folder / service),
        "SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS": broker.address,
        "SIGHTLINE_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SIGHTLINE_KAFKA__SASL_PASSWORD": PASSWORD,
        "SIGHTLINE_S3__ENDPOINT_URL": s3.endpoint,
        "SIGHTLINE_S3__ADDRESSING_STYLE": "path",
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        # No torch to load: what a model needs is tried elsewhere.
        "SIGHTLINE_ENCODER__MODEL": "hashing",
        "SIGHTLINE_INGEST__WEBHOOK__TOKEN": "of-the-test",
    }


@pytest.mark.kafka
@pytest.mark.s3
def test_the_images_do_their_work_with_what_the_manifests_give_them(
    broker: SecuredKafka, s3_server: S3Server, tmp_path: Path
) -> None:
    s3_server.make_bucket("images")
    with ExitStack() as stack:
        pods: dict[str, Pod] = {}
        for service in ("ingest", "embedder", "indexer", "search"):
            found = container(built("base"), service)
            target = found["image"].partition(":")[0].removeprefix("sightline-")
            environment = environment_of(service, broker, s3_server, tmp_path)
            pods[service] = stack.enter_context(
                running(target, found["args"], environment, tmp_path / f"{service}.log")
            )
        for service, pod in pods.items():
            for name in PROBES:
                probe = container(built("base"), service)[name]
                wait_for(lambda pod=pod, probe=probe: pod.is_ready(probe), f"{name} of {service}")  # type: ignore[misc]
            (port,) = container(built("base"), service)["ports"]
            assert port["containerPort"] == int(variables(built("base"), service)["SIGHTLINE_PORT"])
            monitor = of_kind(built("base"), "PodMonitor")[0]["spec"]["podMetricsEndpoints"][0]
            assert pod.ask(monitor["path"]) == 200
        (picture,) = draw_samples(tmp_path / "pictures", 1, seed=3, sizes=((120, 90),))
        client = boto3.client(
            "s3",
            endpoint_url=s3_server.endpoint,
            aws_access_key_id=s3_server.access_key,
            aws_secret_access_key=s3_server.secret_key,
            region_name=s3_server.region,
        )
        client.put_object(Bucket="images", Key="a.jpg", Body=picture.read_bytes())
        client.put_object(Bucket="images", Key="b.jpg", Body=b"<html>no image</html>")
        asyncio.run(notify(broker, "a.jpg", "b.jpg"))
        wait_for(
            lambda: pods["indexer"].metric("sightline_records_finished_total", stage="indexer") >= 2,
            "both judgements reaching the index",
        )
        # Whoever asks without a key is not let in, since the manifests open the port to others.
        assert httpx.get(f"{pods['search'].url}/v1/images").status_code == 401
        for service, pod in pods.items():
            pod.process.terminate()
            assert pod.process.wait(60) == 0, service


async def notify(broker: SecuredKafka, *keys: str) -> None:
    """Do what the object store does, as its user."""
    producer = AIOKafkaProducer(**signed_in(broker, "sightline-store"))
    await producer.start()
    for key in keys:
        record = f'{{"EventName": "s3:ObjectCreated:Put", "Key": "images/{key}", "Records": [{{"eventVersion": "2.0", '
        record += (
            '"eventSource": "minio:s3", "eventName": "s3:ObjectCreated:Put", "eventTime": "2026-11-28T10:00:00Z", '
        )
        record += f'"s3": {{"bucket": {{"name": "images"}}, "object": {{"key": "{key}", "size": 9}}}}}}]}}'
        await producer.send_and_wait("bucket-notifications", record.encode())
    await producer.stop()


def signed_in(broker: SecuredKafka, user: str) -> dict[str, object]:
    return {
        "bootstrap_servers": broker.address,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": user,
        "sasl_plain_password": PASSWORD,
    }


@pytest.mark.kafka
async def test_no_user_may_do_what_is_not_its_work(broker: SecuredKafka, users: list[Manifest]) -> None:
    topics = [one["metadata"]["name"] for one in of_kind(built("base"), "KafkaTopic")]
    for user in users:
        name = user["metadata"]["name"]
        writes = {
            acl["resource"]["name"] for acl in user["spec"]["authorization"]["acls"] if "Write" in acl["operations"]
        }
        producer = AIOKafkaProducer(**signed_in(broker, name), enable_idempotence=name != "sightline-keda")
        if writes:
            await producer.start()
            for topic in topics:
                if topic in writes:
                    # Nobody reads what has no key and no meaning: the other test's consumers are gone by now.
                    await producer.send_and_wait(topic, b"{}", partition=1)
                else:
                    with pytest.raises(KafkaError):
                        await producer.send_and_wait(topic, b"{}", partition=1)
            await producer.stop()
        admin = AIOKafkaAdminClient(**signed_in(broker, name))
        await admin.start()
        made = await admin.create_topics([NewTopic("of-my-own", num_partitions=1, replication_factor=1)])
        assert {code for _, code, *_ in made.topic_errors} == {29}, "TOPIC_AUTHORIZATION_FAILED"
        await admin.close()


@pytest.mark.kafka
async def test_a_consumer_reads_its_own_topic_in_its_own_group_only(broker: SecuredKafka) -> None:
    for topic, group in (("image-events", "sightline-indexer"), ("image-embeddings", "sightline-embedder")):
        consumer = AIOKafkaConsumer(topic, group_id=group, **signed_in(broker, "sightline-indexer"))
        with pytest.raises(KafkaError):
            await read(consumer)


async def read(consumer: AIOKafkaConsumer) -> None:
    try:
        await consumer.start()
        await consumer.getmany(timeout_ms=2000)
    finally:
        await consumer.stop()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A process that holds the model; the settings of whoever asks it."""
    log = tmp_path_factory.mktemp("encoder") / "log.txt"
    local = {"SIGHTLINE_HOST": "127.0.0.1"}
    holds = local | {"SIGHTLINE_PORT": str(free_port()), "SIGHTLINE_ENCODER__MODEL": "sightline-small"}
    with running("encoder", ["serve"], holds, log) as pod:
        wait_for(lambda: pod.ask("/readyz") == 200, "the encoder")
        yield local | {
            "SIGHTLINE_ENCODER__MODEL": "self-hosted:sightline-small",
            "SIGHTLINE_REMOTE__URL": f"{pod.url}/embed",
            "SIGHTLINE_REMOTE__TEXT_URL": f"{pod.url}/embed/text",
        }


@pytest.mark.parametrize("embeds", ["the embedder", pytest.param("the encoder", marks=pytest.mark.slow)])
def test_search_without_torch_finds_by_words_and_by_photo(embeds: str, encoder: dict[str, str], tmp_path: Path) -> None:
    photos, data = tmp_path / "photos", tmp_path / "data"
    draw_samples(photos, 12, seed=5, sizes=((200, 150),))
    if embeds == "the encoder":
        indexes, searches = encoder, encoder
    else:
        indexes = {"SIGHTLINE_ENCODER__MODEL": "sightline-small"}
        searches = encoder | {"SIGHTLINE_REMOTE__MODEL": "sightline-small"}
    indexed = run_command("index", photos, "--data-dir", data, environment=indexes)
    assert indexed.returncode == 0, indexed.stderr
    environment = searches | {"SIGHTLINE_PORT": str(free_port()), "SIGHTLINE_DATA_DIR": str(data)}
    with running("search-remote", ["run", "search"], environment, tmp_path / "search.log") as search:
        wait_for(lambda: search.is_ready({"httpGet": {"path": "/readyz"}}), "search")
        for picture in sorted(photos.iterdir())[:3]:
            answer = httpx.post(f"{search.url}/v1/search", files={"image": ("x", picture.read_bytes())}, timeout=30)
            best = answer.json()["results"][0]
            assert best["key"] == picture.name
            assert best["score"] > 0.99
        by_words = httpx.get(f"{search.url}/v1/search", params={"q": "a red circle"}, timeout=30).json()
        assert {one["key"] for one in by_words["results"]} == {path.name for path in photos.iterdir()}


@pytest.mark.slow
def test_search_stands_for_no_model_whose_vectors_it_does_not_get(encoder: dict[str, str], tmp_path: Path) -> None:
    photos, data = tmp_path / "photos", tmp_path / "data"
    draw_samples(photos, 1, seed=5, sizes=((200, 150),))
    standing = encoder | {"SIGHTLINE_PORT": str(free_port()), "SIGHTLINE_DATA_DIR": str(data)}
    nothing_indexed = standing | {"SIGHTLINE_REMOTE__MODEL": "sightline-small"}
    with running("search-remote", ["run", "search"], nothing_indexed, tmp_path / "waits.log") as search:
        # The embedder that makes the index may start later.
        wait_for(lambda: "there is no" in search.log.read_text(), "the sentence")
        assert (search.ask("/livez"), search.ask("/readyz")) == (200, 503)
        assert search.process.poll() is None
    # As long as the vectors that the encoder makes, and others.
    assert run_command("index", photos, "--data-dir", data).returncode == 0
    other = standing | {"SIGHTLINE_REMOTE__MODEL": "hashing"}
    with running("search-remote", ["run", "search"], other, tmp_path / "search.log") as search:
        assert search.process.wait(60) != 0
    assert "no longer makes the vectors" in search.log.read_text()


def test_whoever_writes_stands_for_no_other_model(encoder: dict[str, str], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw_samples(photos, 1, seed=5, sizes=((200, 150),))
    wrong = encoder | {"SIGHTLINE_REMOTE__MODEL": "sightline-small"}
    refused = run_command("index", photos, "--data-dir", tmp_path / "data", environment=wrong)
    assert refused.returncode == 2, refused.stderr
    assert "SIGHTLINE_REMOTE__MODEL" in refused.stderr
    nobody = run_command(
        "index", photos, "--data-dir", tmp_path / "data", environment=wrong | {"SIGHTLINE_ENCODER__MODEL": "hashing"}
    )
    assert nobody.returncode == 2, nobody.stderr
    assert "self-hosted:" in nobody.stderr


@pytest.mark.kafka
async def test_a_wrong_password_is_told_and_taken_for_no_outage(broker: SecuredKafka) -> None:
    settings = KafkaSettings(
        bootstrap_servers=broker.address,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="sightline-ingest",
        sasl_password=SecretStr("wrong"),
    )
    with pytest.raises(ConfigurationError, match="SIGHTLINE_KAFKA__SASL_PASSWORD") as refused:
        await check_broker(settings)
    assert not isinstance(refused.value, BrokerAway)
