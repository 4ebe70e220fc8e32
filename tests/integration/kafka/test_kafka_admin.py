import asyncio
import socket
import time
from contextlib import AsyncExitStack

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from cli.parts import Parts
from cli.transports import KafkaTransport
from runtime.kafka import check_broker, ensure_topics, topic_name
from runtime.settings import KafkaSettings, load_settings
from schemas.codec import encode
from schemas.errors import ConfigurationError, DependencyUnavailable
from schemas.topics import DEAD_LETTERS, IMAGE_EVENTS, TOPICS
from tests.integration.kafka.rig import Rig
from tests.unit.runtime.stages import event

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


async def test_topics_are_made_with_their_configuration_and_twice_is_no_error(rig: Rig) -> None:
    settings = rig.settings.model_copy(update={"topic_prefix": rig.settings.topic_prefix + "x.", "partitions": 24})
    await asyncio.gather(ensure_topics(settings, TOPICS), ensure_topics(settings, TOPICS))
    await ensure_topics(settings, TOPICS)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        described = {one["topic"]: len(one["partitions"]) for one in await admin.describe_topics()}
        name = topic_name(settings, DEAD_LETTERS.name)
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    finally:
        await admin.close()
    assert described[topic_name(settings, IMAGE_EVENTS.name)] == 24
    assert described[name] == 6
    values = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    assert values["max.message.bytes"] == str(DEAD_LETTERS.max_message_bytes)
    assert values["retention.ms"] == str(30 * 24 * 3600 * 1000)


async def test_whoever_started_without_a_broker_publishes_once_it_is_there_to_topics_made_as_configured(
    rig: Rig,
) -> None:
    settings = load_settings({}, kafka__bootstrap_servers="127.0.0.1:1")
    settings.kafka.topic_prefix, settings.kafka.partitions = rig.settings.topic_prefix + "later.", 4
    async with AsyncExitStack() as entered:
        publisher = await KafkaTransport(Parts.make(settings), entered, later=True).publisher(IMAGE_EVENTS)
        with pytest.raises(DependencyUnavailable, match=r"127\.0\.0\.1:1"):
            await publisher.publish([encode(event("a.jpg"))])
        settings.kafka.bootstrap_servers = rig.settings.bootstrap_servers
        await publisher.publish([encode(event("a.jpg"))])
        await publisher.publish([encode(event("b.jpg"))])
    records = await rig.everything(f"later.{IMAGE_EVENTS.name}")
    assert {record.key for record in records} == {encode(event(key)).key for key in ("a.jpg", "b.jpg")}
    admin = AIOKafkaAdminClient(bootstrap_servers=rig.settings.bootstrap_servers)
    await admin.start()
    try:
        described = {one["topic"]: len(one["partitions"]) for one in await admin.describe_topics()}
    finally:
        await admin.close()
    assert described[topic_name(settings.kafka, IMAGE_EVENTS.name)] == 4


async def test_a_missing_topic_that_may_not_be_made_is_named(rig: Rig) -> None:
    settings = rig.settings.model_copy(update={"topic_prefix": "absent.", "create_topics": False})
    with pytest.raises(ConfigurationError, match=r"absent\.image-events.*SIGHTLINE_KAFKA__CREATE_TOPICS"):
        await ensure_topics(settings, [IMAGE_EVENTS])


async def test_what_the_cluster_cannot_replicate_is_a_sentence(rig: Rig) -> None:
    settings = rig.settings.model_copy(update={"topic_prefix": "wide.", "replication_factor": 3})
    with pytest.raises(ConfigurationError, match="SIGHTLINE_KAFKA__REPLICATION_FACTOR"):
        await ensure_topics(settings, [IMAGE_EVENTS])


async def test_an_address_where_nobody_answers_is_named_with_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(ConfigurationError, match=f"{address}.*SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS"):
        await check_broker(KafkaSettings(bootstrap_servers=address), timeout=2)


async def test_an_address_that_listens_but_never_speaks_costs_no_more_than_the_deadline() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(ConfigurationError, match="SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS"):
            await check_broker(KafkaSettings(bootstrap_servers=address), timeout=1)
        assert time.monotonic() - started < 10


async def test_a_broker_that_answers_is_enough(kafka: str) -> None:
    await check_broker(KafkaSettings(bootstrap_servers=kafka))
