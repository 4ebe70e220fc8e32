"""Publishing: every message by its key, every acknowledgement awaited, never for ever.

aiokafka's producer and not FastStream's: FastStream's `publish_batch` ignores keys, its headers are
text and may not repeat, and its broker can neither be given a deadline nor be rebuilt.
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    RecordListTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownProducerId,
)

from runtime.kafka.connection import client_options, servers, topic_name
from runtime.log import Log
from runtime.settings import KafkaSettings
from schemas.codec import Message
from schemas.errors import ConfigurationError, DependencyUnavailable, SightlineError
from schemas.topics import TopicSpec

_UNRECOVERABLE = (
    OutOfOrderSequenceNumber,
    UnknownProducerId,
    InvalidProducerEpoch,
    ProducerFenced,
    ProducerClosed,
)
"""After these the broker refuses whatever this producer sends; a new one has a new identity."""
_DENIED = (
    AuthenticationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    ClusterAuthorizationFailedError,
)
_PATIENCE = 4
"""Deadlines missed in a row before the producer is rebuilt, in case it is the one that is stuck."""


class RecordTooLarge(SightlineError):
    """A message that no retry will make smaller: a limit of ours is wrong. The process stops."""


class KafkaPublisher:
    """Sends messages to one topic; an async context manager. Safe for concurrent calls.

    Keys choose partitions as the Java client does (murmur2). A call that fails may have sent any part
    of its messages, and its caller sends all of them again. They then follow the first attempt on every
    partition: what is left of it is waited for before anything new is handed over, and the producer is
    idempotent with one request in flight per partition. So the last message of a key stays the last.
    """

    def __init__(
        self, topic: TopicSpec, settings: KafkaSettings, *, log: Log | None = None, deadline: float | None = None
    ) -> None:
        """`deadline` is in seconds, the request timeout of the settings by default."""
        self.topic = topic_name(settings, topic.name)
        self._settings = settings
        self._log = log or Log("sightline.kafka")
        self._deadline = deadline or settings.request_timeout_ms / 1000
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._left: set[asyncio.Future[Any]] = set()
        self._missed = 0

    async def __aenter__(self) -> Self:
        """Connect. Raises `DependencyUnavailable` when no broker answers."""
        await self._connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; what `publish` has not returned for may be lost."""
        await self._discard()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return only when every in-sync replica has every message.

        Raises `DependencyUnavailable` when Kafka does not answer in time, `ConfigurationError` when it
        refuses this user, and `RecordTooLarge` for a message above the topic's limit.
        """
        try:
            async with asyncio.timeout(self._deadline):
                producer = await self._connected()
                if self._left:
                    await asyncio.wait(self._left)
                await self._send(producer, messages)
        except TimeoutError as error:
            self._missed += 1
            if self._missed >= _PATIENCE or (self._producer is not None and _ended(self._producer)):
                await self._discard()
            raise self._unavailable(f"no acknowledgement from {self.topic} within {self._deadline:.0f} s") from error
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            largest = max(len(message.value) for message in messages)
            raise RecordTooLarge(
                f"{self.topic}: a message of {largest} bytes is more than the topic or the producer takes ({error}). "
                "Raise max.message.bytes of the topic, or lower the limit that lets such a record arise"
            ) from error
        except _DENIED as error:
            raise ConfigurationError(
                f"Kafka at {self._settings.bootstrap_servers} refuses to let this user write {self.topic}: {error}. "
                "Check SIGHTLINE_KAFKA__SASL_USERNAME, SIGHTLINE_KAFKA__SASL_PASSWORD and the user's rights"
            ) from error
        except _UNRECOVERABLE as error:
            self._log.warning("producer_rebuilt", f"{self.topic}: a new producer replaces one that failed: {error!r}")
            await self._discard()
            raise self._unavailable(f"the producer for {self.topic} lost its place ({error!r})") from error
        except KafkaError as error:
            if self._producer is not None and _ended(self._producer):
                await self._discard()
            raise self._unavailable(f"{self.topic} did not take the messages ({error!r})") from error
        self._missed = 0

    async def _send(self, producer: AIOKafkaProducer, messages: Sequence[Message]) -> None:
        sent: list[asyncio.Future[Any]] = []
        try:
            for message in messages:
                # `send` returns when the record is queued; its future when it is acknowledged.
                future = await producer.send(
                    self.topic, value=message.value, key=message.key, headers=list(message.headers)
                )
                future.add_done_callback(_retrieve)
                sent.append(future)
            if sent:
                await asyncio.wait(sent)
        except BaseException:
            # Still queued or under way, and not to be recalled.
            for future in sent:
                if not future.done():
                    self._left.add(future)
                    future.add_done_callback(self._left.discard)
            raise
        for future in sent:
            future.result()

    async def _connected(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **client_options(self._settings),
                    acks="all",
                    enable_idempotence=True,
                    # Many of our records fit one request; a lone record is not kept waiting for others.
                    max_batch_size=256 * 1024,
                    max_request_size=8 * 1024 * 1024,
                    linger_ms=2,
                )
                try:
                    await producer.start()
                except BaseException as error:
                    await _close(producer)
                    if isinstance(error, KafkaError) and not isinstance(error, _DENIED):
                        raise self._unavailable(f"no broker answers at {', '.join(servers(self._settings))}") from error
                    raise
                self._producer = producer
            return self._producer

    async def _discard(self) -> None:
        producer, self._producer, self._missed = self._producer, None, 0
        self._left.clear()
        if producer is not None:
            await _close(producer)

    def _unavailable(self, detail: str) -> DependencyUnavailable:
        return DependencyUnavailable(
            "kafka",
            detail,
            f"Look at the brokers at {self._settings.bootstrap_servers}; nothing is lost, the messages are sent again",
        )


def _retrieve(future: asyncio.Future[Any]) -> None:
    # A failure after our deadline is then no warning of the event loop.
    if not future.cancelled():
        future.exception()


def _ended(producer: AIOKafkaProducer) -> bool:
    # The background task ends only by an error that it cannot get over.
    task = producer._sender.sender_task
    return task is not None and task.done()


async def _close(producer: AIOKafkaProducer) -> None:
    # `stop` waits for all that is queued, without a deadline; what is still queued here was given up.
    try:
        async with asyncio.timeout(1.0):
            await producer.stop()
    except (KafkaError, TimeoutError):
        producer._message_accumulator.fail_all(ProducerClosed())
        task = producer._sender.sender_task
        if task is not None:
            task.cancel()
        await producer.client.close()
        if task is not None:
            await asyncio.wait([task], timeout=5.0)
