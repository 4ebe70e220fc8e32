"""What a process does with Kafka before it starts: is it there, and are the topics?"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from runtime.kafka.connection import client_options, topic_name
from runtime.kafka.refusal import NOT_ALLOWED, why_not
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError, DependencyUnavailable
from schemas.topics import IMAGE_EVENTS, TopicSpec


class BrokerAway(ConfigurationError):
    """No broker answers at these addresses: it is away, or they are wrong."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(f"{detail}. {remedy}")
        self._detail = detail
        self._remedy = remedy

    def as_outage(self) -> DependencyUnavailable:
        """The same for those who wait for it."""
        return DependencyUnavailable("kafka", self._detail, self._remedy)


async def check_broker(settings: KafkaSettings, *, timeout: float = 5.0) -> None:
    """Return if a broker answers within `timeout` seconds.

    Raises `BrokerAway` with the addresses and the setting to change when none does, and `ConfigurationError` when one
    refuses our credentials.
    """
    async with _admin(settings, timeout) as admin:
        async with asyncio.timeout(timeout):
            await admin.describe_cluster()


async def ensure_topics(settings: KafkaSettings, specs: Sequence[TopicSpec], *, timeout: float = 30.0) -> None:
    """Create the topics that are missing, with partitions and replication from the settings.

    Topics that exist are left as they are. Raises `ConfigurationError` when a topic is missing and
    may not be created, when the cluster refuses to create it, or us; `BrokerAway` when no broker answers in time.
    """
    async with _admin(settings, timeout) as admin:
        async with asyncio.timeout(timeout):
            existing = set(await admin.list_topics())
        missing = [spec for spec in specs if topic_name(settings, spec.name) not in existing]
        if not missing:
            return
        names = ", ".join(topic_name(settings, spec.name) for spec in missing)
        if not settings.create_topics:
            raise ConfigurationError(
                f"Kafka at {settings.bootstrap_servers} has no topic {names}, and SIGHTLINE_KAFKA__CREATE_TOPICS is "
                "off: create it there, or switch creation on"
            )
        async with asyncio.timeout(timeout):
            answer = await admin.create_topics([_new_topic(settings, spec) for spec in missing])
        for name, code, *message in answer.topic_errors:
            error = for_code(code)
            if code and error.retriable:
                raise error(f"the topic {name} could not be created yet")
            if code and error is not TopicAlreadyExistsError:
                raise ConfigurationError(
                    f"Kafka at {settings.bootstrap_servers} would not create the topic {name}: {error.__name__} "
                    f"{' '.join(str(part) for part in message if part)}. Check SIGHTLINE_KAFKA__PARTITIONS, "
                    "SIGHTLINE_KAFKA__REPLICATION_FACTOR and the rights of this user, or create the topic yourself"
                )
        # Created is not yet known to every broker, and a client that asks too early is told that there is none.
        names_missing = {topic_name(settings, spec.name) for spec in missing}
        async with asyncio.timeout(timeout):
            while names_missing - set(await admin.list_topics()):  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(0.05)


def _new_topic(settings: KafkaSettings, spec: TopicSpec) -> NewTopic:
    # The setting is the partitions of image-events; the other topics keep their proportion to it.
    return NewTopic(
        name=topic_name(settings, spec.name),
        num_partitions=max(1, spec.partitions * settings.partitions // IMAGE_EVENTS.partitions),
        replication_factor=settings.replication_factor,
        topic_configs=spec.config(),
    )


@asynccontextmanager
async def _admin(settings: KafkaSettings, timeout: float) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        try:
            async with asyncio.timeout(timeout):
                await admin.start()
        except KafkaConnectionError as error:
            raise (await why_not(settings, timeout=timeout)) or error from None
        yield admin
    except NOT_ALLOWED as error:
        raise ConfigurationError(
            f"Kafka at {settings.bootstrap_servers} refuses to let this user see its topics: {error}. Check "
            "SIGHTLINE_KAFKA__SASL_USERNAME, SIGHTLINE_KAFKA__SASL_PASSWORD and the user's rights"
        ) from error
    except (KafkaError, OSError) as error:
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise BrokerAway(
            f"Kafka does not answer at {settings.bootstrap_servers} ({said})",
            "Start it, or change SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS and SIGHTLINE_KAFKA__SECURITY_PROTOCOL; without "
            "servers everything runs embedded",
        ) from error
    finally:
        await admin.close()
