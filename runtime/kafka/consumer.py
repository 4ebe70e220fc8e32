"""Consuming: a topic, a group and a worker, with every default of the libraries that loses records turned round."""

import asyncio
from typing import Any

from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedCodecError,
)
from faststream import AckPolicy

from runtime.kafka.connection import CLIENT_ID, group_name, security, servers, topic_name
from runtime.kafka.fetch import WatchedBroker
from runtime.kafka.lag import LagWatch
from runtime.kafka.lane import Lane, LaneTerms
from runtime.kafka.metrics import FetchFailure, KafkaMetrics
from runtime.kafka.records import decode_batch, parse_batch
from runtime.log import Log
from runtime.retry import RetryPolicy
from runtime.settings import KafkaSettings
from runtime.worker import Worker
from schemas.errors import ConfigurationError
from schemas.topics import TopicSpec

MAX_POLL_INTERVAL_MS = 24 * 60 * 60 * 1000
"""A batch may wait for a dependency all night: its consumer waits with it and must not be evicted, since the
next owner would only wait for the same dependency, with one rebalance after another between them. A
process that hangs without waiting for anything is found by the liveness probe, not by Kafka; one that died
or lost its network stops sending heartbeats and is found by the session timeout."""

_DENIED = (
    AuthenticationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    ClusterAuthorizationFailedError,
)


class KafkaConsumer:
    """Brings the records of a topic to a worker, in `consumers` batches at a time.

    Each of the `consumers` is a member of the group with partitions of its own, and all of them share the
    worker and its stage: while one batch is fetched or published, another is worked on.
    """

    def __init__(
        self,
        topic: TopicSpec,
        group: str,
        worker: Worker[Any],
        *,
        settings: KafkaSettings,
        metrics: KafkaMetrics,
        log: Log,
        consumers: int = 1,
        drain_seconds: float = 30.0,
        lag_interval: float = 10.0,
        tell_backlog: bool = False,
    ) -> None:
        """`group` is the name without its prefix; times are in seconds. `tell_backlog`: show when the topic is done."""
        self.topic = topic_name(settings, topic.name)
        self.group = group_name(settings, group)
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._drain_seconds = drain_seconds
        self._lag_interval = lag_interval
        self._failure: asyncio.Future[None] | None = None
        self._broker_now: WatchedBroker | None = None
        self._retry = RetryPolicy()
        terms = LaneTerms(
            topic=self.topic,
            metrics=metrics,
            log=log,
            commit_deadline=settings.request_timeout_ms / 1000,
            revoke_patience=settings.rebalance_timeout_ms / 1000 * 0.8,
            remedy=f"Look at the brokers at {settings.bootstrap_servers}",
            failed=self._fail,
        )
        self.lanes = [Lane(worker, terms) for _ in range(consumers)]
        self.lag = LagWatch(self.topic, self.lanes, metrics, tell_backlog=tell_backlog)
        worker.batches_of(settings.batch_records)
        metrics.expect(self.topic)

    @property
    def not_ready(self) -> str | None:
        """Why it cannot consume, or None: every one of its members has joined the group, and a broker answers."""
        patience = self._settings.rebalance_timeout_ms / 1000
        if any(lane.outside(patience) for lane in self.lanes):
            return f"it is no member of the group {self.group} of {self.topic} at {self._settings.bootstrap_servers}"
        if not self.lag.answered:
            return f"no broker answers at {self._settings.bootstrap_servers}"
        return None

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop`, then finish and commit the batch in hand, leave the group and return.

        Raises what the worker raised, with nothing of that batch committed; `ConfigurationError` when
        Kafka refuses this user or a codec is missing. A broker that is away is waited for, at the start too.
        """
        self._failure = asyncio.get_running_loop().create_future()
        # Joining a group can take as long as its slowest member's batch, so a stop must not wait for it.
        working = asyncio.create_task(self._work(), name=f"consumer of {self.topic}")
        stopping = asyncio.create_task(stop.wait(), name=f"stop of {self.topic}")
        try:
            waited_for: list[asyncio.Future[Any]] = [working, stopping, self._failure]
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            ended = working.done()
        finally:
            for task in (working, stopping):
                task.cancel()
            await self._stop()
            await asyncio.wait([working, stopping])
        if self._failure.done():
            self._failure.result()
        if ended:
            working.result()

    def fetched(self) -> None:
        """A fetch was answered."""
        self._metrics.stalled.labels(self.topic).set(0)

    def fetch_failed(self, error: Exception) -> None:
        """A fetch failed: what passes by itself is counted, what does not stops the process."""
        self._metrics.stalled.labels(self.topic).set(1)
        kind, fatal = self._judge(error)
        self._metrics.fetch_failures.labels(self.topic, kind.value).inc()
        if fatal is not None:
            self._fail(fatal)
        else:
            self._log.warning("fetch_failed", f"{self.topic}: {error!r}; tried again", topic=self.topic)

    def unreadable(self, topic: str, partition: int, offset: int, error: Exception) -> None:
        """A record broke Kafka's own format."""
        self._metrics.fetch_failures.labels(self.topic, FetchFailure.UNREADABLE.value).inc()
        self._log.warning(
            "record_unreadable",
            f"{topic}/{partition}/{offset} cannot be unpacked ({error}); a dead letter without its bytes stands for it",
        )

    def _judge(self, error: Exception) -> tuple[FetchFailure, Exception | None]:
        if isinstance(error, _DENIED):
            return FetchFailure.DENIED, ConfigurationError(
                f"Kafka at {self._settings.bootstrap_servers} refuses to let this user read {self.topic} as group "
                f"{self.group}: {error!r}. Check SIGHTLINE_KAFKA__SASL_USERNAME, SIGHTLINE_KAFKA__SASL_PASSWORD and "
                "the user's rights on the topic and the group"
            )
        if isinstance(error, UnsupportedCodecError):
            return FetchFailure.CODEC, ConfigurationError(
                f"{self.topic} holds records compressed with a codec that is not installed here: {error}. Install "
                "`aiokafka[all]`, or have its producers use gzip"
            )
        if type(error) is KafkaError or not isinstance(error, KafkaError):
            # aiokafka's word for a background task that ended, or a bug: this consumer will never fetch again.
            return FetchFailure.BROKER, error
        return FetchFailure.BROKER, None

    def _fail(self, error: BaseException) -> None:
        for lane in self.lanes:
            lane.close()
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def _broker(self) -> WatchedBroker:
        settings = self._settings
        broker = WatchedBroker(
            servers(settings),
            watch=self,
            client_id=CLIENT_ID,
            request_timeout_ms=settings.request_timeout_ms,
            security=security(settings),
            # Consumers need no right to write, nor to make topics.
            consumer_only=True,
            allow_auto_create_topics=False,
            graceful_timeout=self._drain_seconds * 0.8,
            apply_types=False,
            # It would say in its own form what `Lane` and `FetchWatch` say in ours.
            logger=None,
        )
        for lane in self.lanes:
            subscriber = broker.subscriber(
                self.topic,
                batch=True,
                group_id=self.group,
                # The default commits before the handler has seen the records.
                ack_policy=AckPolicy.MANUAL,
                # The default skips whatever was written before a new group's first start.
                auto_offset_reset="earliest",
                max_records=settings.batch_records,
                batch_timeout_ms=settings.batch_wait_ms,
                session_timeout_ms=settings.session_timeout_ms,
                heartbeat_interval_ms=settings.session_timeout_ms // 10,
                # How long the group waits for a member that finishes its batch.
                rebalance_timeout_ms=settings.rebalance_timeout_ms,
                max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
                listener=lane,
                # The defaults decode headers and values: one bad record would take its batch down.
                parser=parse_batch,
                decoder=decode_batch,
            )
            subscriber(lane.handle)
            lane.attach(lambda subscriber=subscriber: subscriber.consumer)  # type: ignore[misc]
        return broker

    async def _start(self) -> None:
        attempt = 0
        while True:
            broker = self._broker_now = self._broker()
            try:
                return await broker.start()
            except _DENIED as error:
                raise self._judge(error)[1] or error from error
            except KafkaError as error:
                delay = self._retry.delay(attempt)
                attempt += 1
                self._metrics.stalled.labels(self.topic).set(1)
                self._log.warning(
                    "dependency_unavailable",
                    f"kafka: {self.topic} could not be subscribed to ({error!r}). Look at the brokers at "
                    f"{self._settings.bootstrap_servers} and at SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS",
                    dependency="kafka",
                    attempt=attempt,
                    retry_in_seconds=round(delay, 2),
                )
            await self._leave(broker)
            await asyncio.sleep(delay)

    async def _stop(self) -> None:
        for lane in self.lanes:
            lane.close()
        if self._broker_now is not None:
            await self._leave(self._broker_now)

    async def _leave(self, broker: WatchedBroker) -> None:
        consumers = [lane.consumer for lane in self.lanes]
        try:
            async with asyncio.timeout(self._drain_seconds):
                await broker.stop()
        except (TimeoutError, KafkaError, ExceptionGroup) as error:
            # The group notices by the session timeout; nothing was committed that was not done.
            self._log.warning("group_not_left", f"{self.topic}: left without saying goodbye to Kafka: {error!r}")
            for consumer in filter(None, consumers):
                await consumer._client.close()

    async def _work(self) -> None:
        await self._start()
        for lane in self.lanes:
            lane.begin()
        while True:
            await self.lag.refresh()
            await asyncio.sleep(self._lag_interval)
